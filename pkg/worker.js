/**
 * The Worker's entry: takes requests off the wire and answers each exactly once.
 *
 * @module
 */

import { ChunkFeed } from './engine/chunk-feed.js';
import { Engine } from './engine/engine.js';
import { toWire } from './protocol.js';
// What those import in turn, so that all modules are asked for at once, not one level of imports after the other.
import './engine/adapter-source.js';
import './engine/builds.js';
import './engine/byte-source.js';
import './engine/features.js';
import './engine/gpu.js';
import './engine/loading.js';
import './engine/model-source.js';
import './engine/pack-receiver.js';
import './engine/progress.js';
import './engine/turns.js';
import './engine/wasm.js';
import './errors.js';

/** @typedef {import('./protocol.js').FromWorker} FromWorker */
/** @typedef {import('./protocol.js').Request} Request */
/** @typedef {import('./protocol.js').ToWorker} ToWorker */

const engine = new Engine((start) => post({ type: 'thread', start }));
/** Feeds of the load under way, one a stage, for bytes that the page holds. @type {ChunkFeed[]} */
let feeds = [];
/** Ends the request under way, where it can be ended. @type {{ id: number, abort: AbortController } | null} */
let running = null;

/**
 * @param {FromWorker} message
 */
function post(message) {
  postMessage(message);
}

/**
 * @template T
 * @param {number} id
 * @param {(signal: AbortSignal) => Promise<T>} work
 */
async function cancellable(id, work) {
  const abort = new AbortController();
  running = { id, abort };
  try {
    return await work(abort.signal);
  } finally {
    running = null;
  }
}

/**
 * @param {Request} request
 * @returns {Promise<import('./protocol.js').Calls[keyof import('./protocol.js').Calls]['value']>}
 */
async function answer(request) {
  const { id } = request;
  switch (request.type) {
    case 'load': {
      feeds = request.params.stages.map((_, stage) => new ChunkFeed((position) => post({ type: 'pull', id, stage, position })));
      await engine.load(request.params, feeds, (progress) => post({ type: 'progress', id, progress }));
      feeds = [];
      return null;
    }
    case 'setAdapter': {
      const { adapter, ...how } = request.params;
      const report = (/** @type {import('./api.js').LoadProgress} */ progress) => post({ type: 'progress', id, progress });
      await cancellable(id, (signal) => engine.setAdapter(adapter, how, signal, report));
      return null;
    }
    case 'type': {
      const { text, goal, thresholds } = request.params;
      return cancellable(id, (signal) => engine.type(text, goal, thresholds, signal));
    }
    case 'classify':
      return engine.classify(request.params.text, request.params.options);
    case 'batch':
      return engine.classifyBatch(request.params.texts, request.params.thresholds);
    case 'forget':
      engine.forget();
      return null;
    case 'info':
      return engine.info();
  }
}

/** @param {MessageEvent<ToWorker>} event */
async function onMessage({ data }) {
  if (data.type === 'chunk') {
    feeds[data.stage]?.give(data.bytes);
    return;
  }
  if (data.type === 'thread_failed') {
    engine.threadFailed();
    return;
  }
  if (data.type === 'cancel') {
    if (running?.id === data.id) running.abort.abort();
    return;
  }
  try {
    post({ type: 'value', id: data.id, value: await answer(data) });
  } catch (error) {
    post({ type: 'error', id: data.id, error: toWire(error) });
  }
}

addEventListener('message', onMessage);
