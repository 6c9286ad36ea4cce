/**
 * The model inside the Worker: loads it from a byte stream, then answers synchronously.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { openModel } from './model-source.js';
import { ProgressReporter } from './progress.js';
import { startWasm } from './wasm.js';

/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm.js').Wasm} Wasm */

export class Engine {
  /** @type {{ wasm: Wasm, classifier: Classifier } | null} */
  #loaded = null;

  /**
   * @param {import('../protocol.js').PackSource} source
   * @param {import('./chunk-feed.js').ChunkFeed} feed
   * @param {string | undefined} config JSON.
   * @param {(progress: LoadProgress) => void} onProgress
   * @throws {IntentError}
   */
  async load(source, feed, config, onProgress) {
    const progress = new ProgressReporter(onProgress);
    // The first bytes are on their way while the module compiles.
    const [wasm, model] = await Promise.all([
      progress.step('wasm', startWasm),
      openModel(source, feed, config),
    ]);
    const classifier = await model.load(wasm.exports, progress);
    this.#loaded = { wasm, classifier };
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /**
   * @param {string} text
   * @param {import('../protocol.js').EngineOptions} options
   */
  classify(text, options) {
    return this.#model().classifier.classify(text, options);
  }

  /** @returns {import('../api.js').ModelInfo} */
  info() {
    const { wasm, classifier } = this.#model();
    return {
      ...classifier.info(),
      wasmMemoryBytes: wasm.memory.buffer.byteLength,
      maxMessageChars: wasm.exports.max_message_chars(),
    };
  }

  #model() {
    if (!this.#loaded) throw new IntentError('unavailable', 'no model is loaded');
    return this.#loaded;
  }
}
