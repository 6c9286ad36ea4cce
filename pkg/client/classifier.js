/**
 * The public class. It holds no model state: that lives in the Worker.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { openAdapter } from './adapter-source.js';
import {
  checkConfig,
  checkFlag,
  checkOptions,
  checkProgress,
  checkSignal,
  checkText,
  checkThreads,
  checkThreshold,
} from './arguments.js';
import { openPack } from './pack-source.js';
import { requireRuntime } from './runtime.js';
import { WorkerClient } from './worker-client.js';

/** @typedef {import('../api.js').ClassifyOptions} ClassifyOptions */
/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../api.js').AdapterFiles} AdapterFiles */
/** @typedef {import('../api.js').LoadOptions} LoadOptions */
/** @typedef {import('../api.js').ModelInfo} ModelInfo */
/** @typedef {import('../api.js').SetAdapterOptions} SetAdapterOptions */

const MODEL_OPTIONS = /** @type {const} */ (['pack', 'config', 'adapter']);
const LOAD_OPTIONS = /** @type {const} */ ([...MODEL_OPTIONS, 'cascade', 'onProgress', 'signal', 'threads', 'threshold']);
const ADAPTER_OPTIONS = /** @type {const} */ (['onProgress', 'signal', 'force']);
const CLASSIFY_OPTIONS = /** @type {const} */ (['signal', 'tokenConfidence', 'threshold']);

/**
 * @param {Record<string, unknown>} given
 * @param {string} within Goes before the names of options in errors.
 */
function openStage({ pack, config, adapter }, within) {
  const json = checkConfig(config, `${within}config`);
  const { source, readChunk } = openPack(pack, `${within}pack`);
  if (json !== undefined && source.kind === 'pack') {
    throw new IntentError('invalid_argument', `${within}config: a pack brings its own`);
  }
  if (json !== undefined && adapter !== undefined) {
    throw new IntentError('invalid_argument', `${within}config: an adapter brings its own`);
  }
  /** @type {import('../protocol.js').StageSource} */
  const stage = { source };
  if (json !== undefined) stage.config = json;
  if (adapter !== undefined) stage.adapter = openAdapter(adapter, `${within}adapter`);
  return { stage, readChunk };
}

/**
 * A loaded model, or a cascade of two, in a Worker of its own. Calls are answered in the order they were made, one
 * after the other.
 */
export class IntentClassifier {
  /** @type {WorkerClient} */
  #client;
  /** @type {number} */
  #stages;
  /** @type {number[] | undefined} */
  #thresholds;

  /**
   * @private
   * @param {WorkerClient} client
   * @param {number} stages
   * @param {number[] | undefined} thresholds
   */
  constructor(client, stages, thresholds) {
    if (!(client instanceof WorkerClient)) {
      throw new IntentError('invalid_argument', 'client: use IntentClassifier.load() instead of new');
    }
    this.#client = client;
    this.#stages = stages;
    this.#thresholds = thresholds;
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
    const opened = [openStage(given, '')];
    if (given.cascade !== undefined) {
      const second = checkOptions(given.cascade, MODEL_OPTIONS, 'cascade');
      if (second.pack === undefined) throw new IntentError('invalid_argument', 'cascade.pack: a cascade needs a second model');
      opened.push(openStage(second, 'cascade.'));
    }
    const thresholds = checkThreshold(given.threshold, opened.length);
    const threads = checkThreads(given.threads);
    if (signal?.aborted) throw new IntentError('aborted', 'the call was aborted', { cause: signal.reason });
    requireRuntime();
    const client = new WorkerClient();
    try {
      const readChunk = opened.map((stage) => stage.readChunk);
      await client.request('load', { stages: opened.map(({ stage }) => stage), threads }, { signal, onProgress, readChunk });
    } catch (error) {
      client.stop(/** @type {IntentError} */ (error));
      throw error;
    }
    return new IntentClassifier(client, opened.length, thresholds);
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
    const thresholds = checkThreshold(given.threshold, this.#stages) ?? this.#thresholds;
    /** @type {import('../protocol.js').EngineOptions} */
    const engineOptions = { token_confidence: checkFlag(given.tokenConfidence, 'tokenConfidence') };
    if (thresholds !== undefined) engineOptions.thresholds = thresholds;
    return this.#client.request('classify', { text: checkText(text), options: engineOptions }, { signal });
  }

  /**
   * Puts an adapter beside the loaded Qwen2.5, which is not loaded again, or takes it away. Its
   * labels, prompt, temperature, threshold and policy come with it. Calls made before are answered
   * without it, calls made afterwards with it. When it fails or is aborted, everything is as it
   * was; an abort that comes when the files are there is too late.
   *
   * @param {string | URL | AdapterFiles | null} adapter Address of the adapter's folder, its files
   *   by name, or `null` for the model alone.
   * @param {SetAdapterOptions} [options]
   * @returns {Promise<void>}
   * @throws {IntentError} `wrong_base`, `golden_mismatch`, `invalid_config`, `invalid_tensor`,
   *   `unsupported_model`, `network`, and `unavailable` for models that take none.
   */
  async setAdapter(adapter, options) {
    const given = checkOptions(options, ADAPTER_OPTIONS);
    const signal = checkSignal(given.signal);
    const onProgress = checkProgress(given.onProgress);
    const force = checkFlag(given.force, 'force');
    const source = adapter === null ? null : openAdapter(adapter, 'adapter');
    await this.#client.request('setAdapter', { adapter: source, force }, { signal, onProgress, cancels: true });
  }

  /**
   * What is loaded and how it runs.
   *
   * @returns {Promise<ModelInfo>}
   * @throws {IntentError}
   */
  async info() {
    const info = await this.#client.request('info', {});
    const thresholds = this.#thresholds;
    if (thresholds === undefined) return info;
    const stages = info.stages?.map((stage, index) => ({ ...stage, threshold: thresholds[index] ?? thresholds[0] }));
    return { ...info, threshold: thresholds[thresholds.length - 1], ...(stages && { stages }) };
  }

  /** Ends the Worker and frees the model. Pending and later calls reject with `disposed`. */
  dispose() {
    this.#client.stop(new IntentError('disposed', 'the classifier was disposed'));
  }
}
