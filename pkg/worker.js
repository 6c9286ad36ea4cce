/**
 * The Worker's entry: takes requests off the wire and answers each exactly once.
 *
 * @module
 */

import { ChunkFeed } from './engine/chunk-feed.js';
import { Engine } from './engine/engine.js';
import { toWire } from './protocol.js';
// What those import in turn, so that all modules are asked for at once, not one level of imports after the other.
import './engine/byte-source.js';
import './engine/model-source.js';
import './engine/progress.js';
import './engine/wasm.js';
import './errors.js';
import './wasm/relayops_intent.js';

/** @typedef {import('./protocol.js').FromWorker} FromWorker */
/** @typedef {import('./protocol.js').Request} Request */
/** @typedef {import('./protocol.js').ToWorker} ToWorker */

const engine = new Engine();
/** The feed of the load under way, if the page holds its bytes. @type {ChunkFeed | null} */
let feed = null;

/**
 * @param {FromWorker} message
 */
function post(message) {
  postMessage(message);
}

/**
 * @param {Request} request
 * @returns {Promise<import('./protocol.js').Calls[keyof import('./protocol.js').Calls]['value']>}
 */
async function answer(request) {
  const { id } = request;
  switch (request.type) {
    case 'load': {
      feed = new ChunkFeed(() => post({ type: 'pull', id }));
      const { source, config } = request.params;
      await engine.load(source, feed, config, (progress) => post({ type: 'progress', id, progress }));
      feed = null;
      return null;
    }
    case 'classify':
      return engine.classify(request.params.text, request.params.options);
    case 'info':
      return engine.info();
  }
}

/** @param {MessageEvent<ToWorker>} event */
async function onMessage({ data }) {
  if (data.type === 'chunk') {
    feed?.give(data.bytes);
    return;
  }
  try {
    post({ type: 'value', id: data.id, value: await answer(data) });
  } catch (error) {
    post({ type: 'error', id: data.id, error: toWire(error) });
  }
}

addEventListener('message', onMessage);
