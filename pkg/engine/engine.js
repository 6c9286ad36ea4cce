/**
 * The model inside the Worker: loads it from a byte stream, then answers synchronously.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { openSource } from './byte-source.js';
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
    const wasm = await progress.step('wasm', startWasm);
    const { name, total, exact, chunks } = await openSource(source, feed);
    progress.start(total);
    const loader = new wasm.exports.ModelLoader(name, exact && total !== null ? total : undefined, config);
    for await (const chunk of chunks) {
      loader.push(chunk);
      progress.add(chunk.byteLength);
    }
    progress.end();
    const classifier = await progress.step('prepare', async () => loader.finish());
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
