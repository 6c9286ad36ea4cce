/**
 * The model inside the Worker: loads it from a byte stream, then answers synchronously.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { applyAdapter, openAdapter } from './adapter-source.js';
import { openModel } from './model-source.js';
import { ProgressReporter, sumOf } from './progress.js';
import { nextTurn } from './turns.js';
import { judged, startWasm } from './wasm.js';

/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm.js').Wasm} Wasm */

export class Engine {
  /** @type {{ wasm: Wasm, classifier: Classifier } | null} */
  #loaded = null;
  /** Whether what comes by address is kept. */
  #cache = false;
  #threads;

  /** @param {(start: import('../protocol.js').ThreadStart) => void} startThread Has a Worker made that helps this one. */
  constructor(startThread) {
    this.#threads = { start: startThread, failed: 0 };
  }

  /** Says that such a Worker failed. */
  threadFailed() {
    this.#threads.failed += 1;
  }

  /**
   * @param {import('../protocol.js').Calls['load']['params']} params
   * @param {import('./chunk-feed.js').ChunkFeed[]} feeds One a stage.
   * @param {(progress: LoadProgress) => void} onProgress
   * @throws {IntentError}
   */
  async load({ stages, cache, ...how }, feeds, onProgress) {
    const progress = new ProgressReporter(onProgress);
    const caching = cache ? { progress } : null;
    // The first bytes are on their way while the module compiles.
    const [wasm, ...opened] = await Promise.all([
      progress.step('wasm', () => startWasm(how, this.#threads)),
      ...stages.map(({ source, config }, index) => openModel(source, feeds[index], config, caching)),
    ]);
    const models = opened.map((model) => model.start(wasm.exports));
    const list = wasm.exports.adapter_files();
    const adapters = await Promise.all(stages.map(({ adapter }) => adapter && openAdapter(adapter, list, caching)));
    progress.start(sumOf([...adapters, ...models].map((part) => (part ? part.total : 0))));
    /** @type {((Uint8Array | null)[] | undefined)[]} */
    const files = [];
    // Before the models, so that their transfers need not wait for the models'.
    for (const adapter of adapters) files.push(await adapter?.read(progress));
    for (const model of models) await model.receive(progress);
    progress.end();
    const build = async () => {
      const ready = models.map((model, index) => {
        const classifier = model.finish();
        const adapter = files[index];
        if (adapter) applyAdapter(classifier, adapter, list, { force: false });
        return classifier;
      });
      return ready.reduce((cascade, later) => cascade.followed_by(later));
    };
    const classifier = await progress.step('prepare', () => judged(wasm, build));
    this.#loaded = { wasm, classifier };
    this.#cache = cache;
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /**
   * @param {import('../protocol.js').AdapterSource | null} source
   * @param {{ config?: string, force: boolean }} how
   * @param {AbortSignal} signal
   * @param {(progress: LoadProgress) => void} onProgress
   * @throws {IntentError} Everything is as it was then.
   */
  async setAdapter(source, how, signal, onProgress) {
    const { wasm, classifier } = this.#model();
    if (source === null) {
      classifier.remove_adapter();
      return;
    }
    const progress = new ProgressReporter(onProgress);
    const list = wasm.exports.adapter_files();
    const adapter = await openAdapter(source, list, this.#cache ? { progress } : null, signal);
    progress.start(adapter.total);
    const files = await adapter.read(progress);
    progress.end();
    // From here on nothing waits, so no abort can come between.
    await progress.step('prepare', async () => applyAdapter(classifier, files, list, how));
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /**
   * @param {string} text
   * @param {import('../protocol.js').EngineOptions} options
   */
  classify(text, options) {
    return this.#model().classifier.classify(text, options);
  }

  /**
   * @param {string[]} texts
   * @param {number[]} thresholds
   */
  classifyBatch(texts, thresholds) {
    return this.#model().classifier.classify_batch(texts, Float32Array.from(thresholds));
  }

  /**
   * A message while it is typed, in steps of some milliseconds, between which it can be aborted.
   *
   * @param {string} text
   * @param {boolean} score Without it only what a score takes is made ready.
   * @param {number[]} thresholds
   * @param {AbortSignal} signal
   * @returns {Promise<import('../api.js').ClassifyResult | null>}
   * @throws {IntentError} `aborted`; what was done stays for the next text.
   */
  async type(text, score, thresholds, signal) {
    const { classifier } = this.#model();
    const given = Float32Array.from(thresholds);
    for (let step = classifier.begin(text, score, given); ; step = classifier.advance()) {
      if (step.state !== 'running') return step.state === 'done' ? step.result : null;
      await nextTurn();
      if (signal.aborted) throw new IntentError('aborted', 'a later call came first');
    }
  }

  /** Nothing of any message is held afterwards. */
  forget() {
    this.#model().classifier.forget();
  }

  /** @returns {import('../api.js').ModelInfo} */
  info() {
    const { wasm, classifier } = this.#model();
    return {
      ...classifier.info(),
      reason: wasm.reason,
      wasmMemoryBytes: wasm.memory.buffer.byteLength,
      maxMessageChars: wasm.exports.max_message_chars(),
    };
  }

  #model() {
    if (!this.#loaded) throw new IntentError('unavailable', 'no model is loaded');
    return this.#loaded;
  }
}
