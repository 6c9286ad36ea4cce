/**
 * The public class. It holds no model state: that lives in the Worker.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { UnfitBuildError } from '../protocol.js';
import { checkEscalation } from '../outbox/options.js';
import { Outbox } from '../outbox/outbox.js';
import { eraseInTime } from '../outbox/unattended.js';
import { openAdapter } from './adapter-source.js';
import {
  checkAfterCrash,
  checkBackend,
  checkCache,
  checkConfig,
  checkFlag,
  checkOptions,
  checkProgress,
  checkSignal,
  checkText,
  checkTexts,
  checkThreads,
  checkThreshold,
} from './arguments.js';
import { askEach, runBatch } from './batch.js';
import { guarded } from './crash-guard.js';
import { openPack } from './pack-source.js';
import { requireRuntime } from './runtime.js';
import { Session, pause } from './session.js';
import { WorkerClient } from './worker-client.js';

/** @typedef {import('../api.js').ClassifyOptions} ClassifyOptions */
/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../api.js').AdapterFiles} AdapterFiles */
/** @typedef {import('../api.js').BatchOptions} BatchOptions */
/** @typedef {import('../api.js').BatchProgress} BatchProgress */
/** @typedef {import('../api.js').InfoOptions} InfoOptions */
/** @typedef {import('../protocol.js').EngineOptions} EngineOptions */
/** @typedef {import('../api.js').LoadOptions} LoadOptions */
/** @typedef {import('../api.js').ModelInfo} ModelInfo */
/** @typedef {import('../api.js').SessionOptions} SessionOptions */
/** @typedef {import('../api.js').SetAdapterOptions} SetAdapterOptions */

/** What a large model waits for a next change of a message before it scores what is there. */
const PAUSE_MS = 150;

const MODEL_OPTIONS = /** @type {const} */ (['pack', 'config', 'adapter']);
const LOAD_OPTIONS = /** @type {const} */ ([...MODEL_OPTIONS, 'cascade', 'escalation', 'cache', 'afterCrash', 'backend', 'onProgress', 'signal', 'threads', 'threshold']);
const ADAPTER_OPTIONS = /** @type {const} */ (['onProgress', 'signal', 'force', 'config']);
const SESSION_OPTIONS = /** @type {const} */ (['tokenConfidence', 'threshold']);
const CLASSIFY_OPTIONS = /** @type {const} */ (['signal', ...SESSION_OPTIONS]);
const BATCH_OPTIONS = /** @type {const} */ ([...CLASSIFY_OPTIONS, 'onProgress']);
const INFO_OPTIONS = /** @type {const} */ (['signal']);

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
 * Where a build of the engine is not fit for the models here, the next one is tried: in a Worker of its own, so that nothing is left
 * of the first.
 *
 * @param {import('./crash-guard.js').OpenedStage[]} stages
 * @param {{ cache: boolean, threads: number | 'auto', backend: import('../api.js').Backend }} how
 * @param {import('./worker-client.js').RequestHooks} hooks
 * @returns {Promise<WorkerClient>} With the models loaded.
 */
async function startWorker(stages, how, hooks) {
  /** @type {import('../protocol.js').UnfitBuild[]} */
  const unfit = [];
  for (;;) {
    const client = new WorkerClient();
    try {
      const readChunk = stages.map((stage) => stage.readChunk);
      await client.request('load', { stages: stages.map(({ stage }) => stage), ...how, unfit }, { ...hooks, readChunk });
      return client;
    } catch (error) {
      client.stop(/** @type {IntentError} */ (error));
      if (!(error instanceof UnfitBuildError)) throw error;
      unfit.push(error.unfit);
    }
  }
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
  /** Where escalations go; `null` while that is off. @type {Outbox | null} */
  #outbox = null;
  /** Outboxes of former settings that are not closed yet. @type {Set<Outbox>} */
  #former = new Set();
  /** Addresses that anything was for. @type {Set<string>} */
  #addresses = new Set();
  /** Settles when all that waited was taken back. @type {Promise<unknown>} */
  #withdrawing = Promise.resolve();
  /** Ends the erasing of what earlier visits left behind; `null` before escalation was off. @type {AbortController | null} */
  #erasing = null;
  /** Counts settings of escalation: the last one holds, however long an earlier one takes to open. */
  #settings = 0;
  #disposed = false;
  /** @type {import('../api.js').Fallback | null} */
  #fallback;

  /**
   * @private
   * @param {WorkerClient} client
   * @param {number} stages
   * @param {number[] | undefined} thresholds
   * @param {import('../api.js').Fallback | null} fallback
   */
  constructor(client, stages, thresholds, fallback) {
    if (!(client instanceof WorkerClient)) {
      throw new IntentError('invalid_argument', 'client: use IntentClassifier.load() instead of new');
    }
    this.#client = client;
    this.#stages = stages;
    this.#thresholds = thresholds;
    this.#fallback = fallback;
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
    checkEscalation(given.escalation);
    const cache = checkCache(given.cache);
    const retry = checkAfterCrash(given.afterCrash);
    const threads = checkThreads(given.threads);
    const backend = checkBackend(given.backend);
    if (signal?.aborted) throw new IntentError('aborted', 'the call was aborted', { cause: signal.reason });
    requireRuntime();
    // Its outcome changes nothing here, and in Firefox it waits for a person.
    if (cache === 'persist') globalThis.navigator?.storage?.persist?.().catch(() => {});
    const { stages, fallback, done } = await guarded(opened, retry);
    try {
      const client = await startWorker(stages, { cache: cache !== false, threads, backend }, { signal, onProgress });
      // A threshold is that of the model it was chosen for.
      const kept = stages[0] === opened[0] ? thresholds?.slice(0, stages.length) : undefined;
      const classifier = new IntentClassifier(client, stages.length, kept, fallback);
      await classifier.setEscalation(/** @type {LoadOptions['escalation']} */ (given.escalation) ?? 'off');
      return classifier;
    } finally {
      done();
    }
  }

  /**
   * Classifies one message. A message of more than `maxMessageChars` characters, and one on which
   * inference fails, resolve to `unknown` with route `escalate`; only bad arguments, abort,
   * dispose and a crash reject. A message that escalates is put into the outbox, if there is one;
   * nothing waits for that.
   *
   * @param {string} text
   * @param {ClassifyOptions} [options]
   * @returns {Promise<ClassifyResult>}
   * @throws {IntentError}
   */
  async classify(text, options) {
    const given = checkOptions(options, CLASSIFY_OPTIONS);
    const result = await this.#ask(text, this.#engineOptions(given), checkSignal(given.signal));
    // As it is now: what was turned off meanwhile stays off.
    const outbox = this.#outbox;
    if (!outbox || result.decision.route !== 'escalate') return result;
    return { ...result, escalation: outbox.enqueue(text, result) };
  }

  /**
   * Classifies many messages in the order given, some at a time, which share what they cost. Other calls made meanwhile
   * wait for those at most: four messages, or as many as take a tenth of a second. Like a session's updates this only
   * classifies.
   *
   * @param {string[]} texts
   * @param {BatchOptions} [options]
   * @returns {Promise<PromiseSettledResult<ClassifyResult>[]>} As `Promise.allSettled` gives them: a
   *   message that fails, an empty one for example, does not fail the others.
   * @throws {IntentError} `aborted`, `disposed`, `worker_failed`, and `invalid_argument` for arguments.
   */
  async classifyBatch(texts, options) {
    const given = checkOptions(options, BATCH_OPTIONS);
    const report = /** @type {typeof checkProgress<BatchProgress>} */ (checkProgress)(given.onProgress);
    const [engineOptions, signal] = [this.#engineOptions(given), checkSignal(given.signal)];
    const ask = (/** @type {string[]} */ group) =>
      engineOptions.token_confidence
        ? askEach(group, (text) => this.#ask(text, engineOptions, signal))
        : this.#client.request('batch', { texts: group, thresholds: engineOptions.thresholds ?? [] }, { signal });
    return runBatch(checkTexts(texts), this.#stages, ask, report, signal);
  }

  /**
   * Begins a message that is being typed: `update(text)` at each change, `submit()` when it is sent.
   *
   * @param {SessionOptions} [options]
   * @returns {Session}
   */
  session(options) {
    const given = checkOptions(options, SESSION_OPTIONS);
    const engineOptions = this.#engineOptions(given);
    return new Session(
      (text, signal) => this.#type(text, engineOptions, signal),
      (text, signal) => this.classify(text, /** @type {ClassifyOptions} */ ({ ...given, signal })),
      // A Worker that is gone holds nothing.
      () => void this.#client.request('forget', {}, {}).catch(() => {}),
    );
  }

  /**
   * @param {Record<string, unknown>} given Options by name.
   * @returns {EngineOptions}
   */
  #engineOptions({ threshold, tokenConfidence }) {
    const thresholds = checkThreshold(threshold, this.#stages) ?? this.#thresholds;
    const options = { token_confidence: checkFlag(tokenConfidence, 'tokenConfidence') };
    return thresholds === undefined ? options : { ...options, thresholds };
  }

  /**
   * Classifies, and nothing else.
   *
   * @param {string} text
   * @param {EngineOptions} options
   * @param {AbortSignal} [signal]
   * @returns {Promise<ClassifyResult>}
   */
  async #ask(text, options, signal) {
    return this.#client.request('classify', { text: checkText(text), options }, { signal });
  }

  /**
   * What a large model holds of the message is made ready at each change; it says something of it only after a pause.
   *
   * @param {string} text
   * @param {EngineOptions} options
   * @param {AbortSignal} signal
   * @returns {Promise<ClassifyResult>}
   */
  async #type(text, { token_confidence, thresholds = [] }, signal) {
    const ask = (/** @type {import('../protocol.js').TypingGoal} */ goal) =>
      this.#client.request('type', { text: checkText(text), goal, thresholds }, { signal, cancels: true });
    let result = await ask('hold');
    if (!result || token_confidence) {
      await pause(PAUSE_MS, signal);
      result = await ask(token_confidence ? 'score in full' : 'score');
    }
    // It may have come too late to be ended, and is not wanted all the same.
    if (signal.aborted) throw new IntentError('aborted', 'the call was aborted', { cause: signal.reason });
    return /** @type {ClassifyResult} */ (result);
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
    const config = checkConfig(given.config, 'config');
    const source = adapter === null ? null : openAdapter(adapter, 'adapter');
    const params = { adapter: source, force, ...(config !== undefined && { config }) };
    await this.#client.request('setAdapter', params, { signal, onProgress, cancels: true });
  }

  /**
   * What is loaded and how it runs.
   *
   * @param {InfoOptions} [options]
   * @returns {Promise<ModelInfo>}
   * @throws {IntentError}
   */
  async info(options) {
    const signal = checkSignal(checkOptions(options, INFO_OPTIONS).signal);
    const found = await this.#client.request('info', {}, { signal });
    const info = this.#fallback ? { ...found, fallback: this.#fallback } : found;
    const thresholds = this.#thresholds;
    if (thresholds === undefined) return info;
    const stages = info.stages?.map((stage, index) => ({ ...stage, threshold: thresholds[index] ?? thresholds[0] }));
    return { ...info, threshold: thresholds[(stages?.length ?? 1) - 1] ?? thresholds[0], ...(stages && { stages }) };
  }

  /** The queue of escalated messages and their states; `null` while escalation is off. */
  get outbox() {
    return this.#outbox;
  }

  /**
   * Says where messages go that the gate does not leave to the device. Another address, or other settings of the same,
   * hold when it resolves; until then the former do. `'off'` holds at once: nothing is sent any more, neither what is
   * under way nor what was queued before for an address that this classifier sent to, by no page of the origin; it resolves
   * when the others can know. What waits for another address `Outbox.withdraw(url)` takes back.
   *
   * @param {'off' | import('../outbox/types.js').EscalationOptions} escalation
   * @returns {Promise<void>}
   * @throws {IntentError} `invalid_argument`, `disposed`
   */
  async setEscalation(escalation) {
    const settings = checkEscalation(escalation);
    const turn = (this.#settings += 1);
    if (!settings) {
      this.#replace(null);
      this.#eraseInTime();
      this.#withdrawing = this.#withdraw();
      await this.#withdrawing;
      return;
    }
    // Or what escalates from now on would be taken back too.
    await this.#withdrawing;
    const outbox = await Outbox.open(settings);
    if (turn === this.#settings && !this.#disposed) {
      // What escalated meanwhile was taken by the one before. What it holds in memory nobody else can send.
      this.#replace(outbox);
      for (const former of this.#former) void former.retire().then(() => this.#former.delete(former));
      return;
    }
    outbox.close();
    if (this.#disposed) throw new IntentError('disposed', 'the classifier was disposed');
  }

  /** @param {Outbox | null} next The one before may still store something. */
  #replace(next) {
    if (this.#outbox) this.#former.add(this.#outbox);
    this.#outbox = next;
    if (next) this.#addresses.add(next.url);
  }

  /** Takes back what waits. A database that is gone holds nothing that could be sent. */
  async #withdraw() {
    // Those of former settings too: they may still be storing something.
    const open = Array.from(this.#former, (outbox) => outbox.withdraw());
    const others = new Set(this.#addresses);
    for (const { url } of this.#former) others.delete(url);
    await Promise.allSettled([...open, ...Array.from(others, (url) => Outbox.withdraw(url))]);
  }

  #eraseInTime() {
    if (this.#erasing || this.#disposed) return;
    this.#erasing = new AbortController();
    eraseInTime(this.#erasing.signal);
  }

  /**
   * Ends the Worker and frees the model. Pending and later calls reject with `disposed`. Messages
   * in the outbox, also those that are still being stored, are sent when a classifier is loaded for the same address again.
   */
  dispose() {
    this.#disposed = true;
    for (const outbox of [...this.#former, this.#outbox]) outbox?.close();
    this.#erasing?.abort();
    this.#former.clear();
    this.#outbox = null;
    this.#client.stop(new IntentError('disposed', 'the classifier was disposed'));
  }
}
