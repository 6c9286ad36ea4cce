/**
 * The public class. It holds no model state: that lives in the Worker.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import {
  checkConfig,
  checkOptions,
  checkProgress,
  checkSignal,
  checkText,
  checkThreshold,
  checkTokenConfidence,
} from './arguments.js';
import { openPack } from './pack-source.js';
import { requireRuntime } from './runtime.js';
import { WorkerClient } from './worker-client.js';

/** @typedef {import('../api.js').ClassifyOptions} ClassifyOptions */
/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../api.js').LoadOptions} LoadOptions */
/** @typedef {import('../api.js').ModelInfo} ModelInfo */

const LOAD_OPTIONS = /** @type {const} */ (['pack', 'onProgress', 'signal', 'config', 'threshold']);
const CLASSIFY_OPTIONS = /** @type {const} */ (['signal', 'tokenConfidence', 'threshold']);

/**
 * A loaded model in a Worker of its own. Calls are answered in the order they were made, one
 * after the other.
 */
export class IntentClassifier {
  /** @type {WorkerClient} */
  #client;
  /** @type {number | undefined} */
  #threshold;

  /**
   * @private
   * @param {WorkerClient} client
   * @param {number | undefined} threshold
   */
  constructor(client, threshold) {
    if (!(client instanceof WorkerClient)) {
      throw new IntentError('invalid_argument', 'client: use IntentClassifier.load() instead of new');
    }
    this.#client = client;
    this.#threshold = threshold;
  }

  /**
   * Starts a Worker and loads a model into it. When it fails or is aborted, the Worker is
   * terminated and nothing stays behind.
   *
   * @param {LoadOptions} [options]
   * @returns {Promise<IntentClassifier>}
   * @throws {IntentError}
   */
  static async load(options) {
    const given = checkOptions(options, LOAD_OPTIONS);
    const signal = checkSignal(given.signal);
    const onProgress = checkProgress(given.onProgress);
    const config = checkConfig(given.config);
    const threshold = checkThreshold(given.threshold);
    const { source, readChunk } = openPack(given.pack);
    if (source.kind === 'pack' && config !== undefined) {
      throw new IntentError('invalid_argument', 'config: a pack brings its own');
    }
    if (signal?.aborted) throw new IntentError('aborted', 'the call was aborted', { cause: signal.reason });
    requireRuntime();
    const client = new WorkerClient();
    try {
      await client.request('load', { source, config }, { signal, onProgress, readChunk });
    } catch (error) {
      client.stop(/** @type {IntentError} */ (error));
      throw error;
    }
    return new IntentClassifier(client, threshold);
  }

  /**
   * Classifies one message. A message of more than `maxMessageChars` characters, and one on which
   * inference fails, resolve to `unknown` with route `escalate`; only bad arguments, abort,
   * dispose and a crash reject.
   *
   * @param {string} text
   * @param {ClassifyOptions} [options]
   * @returns {Promise<ClassifyResult>}
   * @throws {IntentError}
   */
  async classify(text, options) {
    const given = checkOptions(options, CLASSIFY_OPTIONS);
    const signal = checkSignal(given.signal);
    const threshold = checkThreshold(given.threshold) ?? this.#threshold;
    /** @type {import('../protocol.js').EngineOptions} */
    const engineOptions = { token_confidence: checkTokenConfidence(given.tokenConfidence) };
    if (threshold !== undefined) engineOptions.threshold = threshold;
    return this.#client.request('classify', { text: checkText(text), options: engineOptions }, { signal });
  }

  /**
   * What is loaded and how it runs.
   *
   * @returns {Promise<ModelInfo>}
   * @throws {IntentError}
   */
  async info() {
    const info = await this.#client.request('info', {});
    return { ...info, threshold: this.#threshold ?? info.threshold };
  }

  /** Ends the Worker and frees the model. Pending and later calls reject with `disposed`. */
  dispose() {
    this.#client.stop(new IntentError('disposed', 'the classifier was disposed'));
  }
}
