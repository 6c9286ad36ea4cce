/**
 * The model inside the Worker: loads it from a byte stream, then answers synchronously.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { toWire } from '../protocol.js';
import { applyAdapter, openAdapter, settleAdapter } from './adapter-source.js';
import { answer, faultOf, reasonOf, release } from './gpu.js';
import { load, loadAgain } from './loading.js';
import { ProgressReporter } from './progress.js';
import { nextTurn } from './turns.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../protocol.js').BatchOutcome} BatchOutcome */
/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./loading.js').Loaded} Loaded */
/** @typedef {import('./loading.js').LoadParams} LoadParams */
/** @typedef {import('../api.js').ModelInfo} ModelInfo */

export class Engine {
  /** @type {Loaded | null} */
  #loaded = null;
  /** What a GPU has taken along for good. @type {ModelInfo | null} */
  #gone = null;
  /** What was loaded, for when a GPU takes it along. @type {LoadParams | null} */
  #params = null;
  /** The adapter that was set since, `null` where that was none; nothing while no GPU computes. @type {{ files: (Uint8Array | null)[], how: { config?: string, force: boolean } } | null | undefined} */
  #adapter;
  /** Of engines that started here: a GPU that is lost leaves its engine's behind. @type {Set<WebAssembly.Memory>} */
  #memories = new Set();
  /** @type {import('./wasm.js').ThreadStarter} */
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
   * @param {LoadParams} params
   * @param {import('./chunk-feed.js').ChunkFeed[]} feeds One a stage.
   * @param {(progress: LoadProgress) => void} onProgress
   * @throws {IntentError}
   */
  async load(params, feeds, onProgress) {
    this.#take(await load(params, feeds, this.#threads, onProgress));
    this.#params = params;
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /** @param {Loaded} loaded */
  #take(loaded) {
    this.#loaded = loaded;
    this.#memories.add(loaded.memory);
  }

  /**
   * @param {import('../protocol.js').AdapterSource | null} source
   * @param {{ config?: string, force: boolean }} how
   * @param {AbortSignal} signal
   * @param {(progress: LoadProgress) => void} onProgress
   * @throws {IntentError} Everything is as it was then.
   */
  async setAdapter(source, how, signal, onProgress) {
    if (source === null) {
      await this.#outliving(({ classifier }) => removeAdapter(classifier));
      this.#keep(null);
      return;
    }
    const list = this.#model().exports.adapter_files();
    const progress = new ProgressReporter(onProgress);
    const adapter = await openAdapter(source, list, this.#params?.cache ? { progress } : null, signal);
    progress.start(adapter.total);
    const files = await adapter.read(progress);
    progress.end();
    // From here on it is too late for an abort.
    await progress.step('prepare', () => this.#outliving(({ classifier }) => applyAdapter(classifier, files, list, how)));
    this.#keep({ files, how });
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /** @param {{ files: (Uint8Array | null)[], how: { config?: string, force: boolean } } | null} adapter For when a GPU takes it along. */
  #keep(adapter) {
    this.#adapter = this.#loaded?.gpu ? adapter : undefined;
  }

  /**
   * @param {string} text
   * @param {import('../protocol.js').EngineOptions} options
   * @returns {Promise<ClassifyResult>}
   */
  async classify(text, options) {
    if (this.#gone) return unanswered(text, this.#gone);
    const result = await this.#outliving(async ({ classifier, gpu }) => {
      const left = { ...options, thresholds: this.#ofStages(options.thresholds ?? []) };
      return gpu ? answer(gpu.classifier, text, left) : classifier.classify(text, left);
    });
    return /** @type {ClassifyResult} */ (result);
  }

  /**
   * @param {string[]} texts
   * @param {number[]} thresholds
   * @returns {Promise<BatchOutcome[]>}
   * @throws {IntentError} `invalid_argument` of the thresholds.
   */
  async classifyBatch(texts, thresholds) {
    if (this.#loaded && !this.#loaded.gpu) return this.#loaded.classifier.classify_batch(texts, Float32Array.from(this.#ofStages(thresholds)));
    // One by one: a device fills its rows with a single message, and each outlives the loss of the device by itself.
    /** @type {BatchOutcome[]} */
    const outcomes = [];
    for (const text of texts) {
      try {
        outcomes.push({ result: await this.classify(text, { thresholds }) });
      } catch (error) {
        const { code, message } = toWire(error);
        if (code !== 'empty_message') throw error;
        outcomes.push({ error: { code, message } });
      }
    }
    return outcomes;
  }

  /**
   * A message while it is typed, in steps of some milliseconds, between which it can be aborted.
   *
   * @param {string} text
   * @param {import('../protocol.js').TypingGoal} goal
   * @param {number[]} thresholds
   * @param {AbortSignal} signal
   * @returns {Promise<ClassifyResult | null>}
   * @throws {IntentError} `aborted`; what was done stays for the next text.
   */
  async type(text, goal, thresholds, signal) {
    if (this.#gone) return unanswered(text, this.#gone);
    return this.#outliving(async ({ classifier, gpu }) => {
      for (let step = classifier.begin(text, goal, Float32Array.from(this.#ofStages(thresholds))); ; step = classifier.advance()) {
        if (step.state === 'done') return step.result;
        if (step.state === 'held') return null;
        await (step.state === 'waiting' ? gpu?.classifier.answered() : nextTurn());
        if (signal.aborted) throw new IntentError('aborted', 'a later call came first');
      }
    });
  }

  /**
   * Asks again where the GPU failed meanwhile. The first time one is looked for again, then the CPU takes over. Where the
   * weights can't be had again, the outcome is what is left to say without them: of a message `unknown`, to be escalated.
   *
   * @template {ClassifyResult | null | void} T
   * @param {(loaded: Loaded) => Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #outliving(ask) {
    for (;;) {
      const loaded = this.#model();
      const [outcome] = await Promise.allSettled([ask(loaded)]);
      const fault = loaded.gpu && faultOf(loaded.gpu.device, outcome);
      if (loaded.gpu && fault !== null && (await this.#recover(loaded.gpu, fault))) continue;
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    }
  }

  /**
   * @param {NonNullable<Loaded['gpu']>} gpu
   * @param {string} fault
   * @returns {Promise<boolean>} Whether there is anyone to ask again.
   */
  async #recover({ info, device, classifier }, fault) {
    const params = /** @type {LoadParams} */ (this.#params);
    const before = this.info();
    this.#loaded = null;
    release(device, [classifier]);
    const stages = this.#leftOf(params.stages);
    if (stages.length === 0) {
      this.#gone = { ...before, reason: 'the GPU was lost, and the page’s bytes with it: load the model again' };
      return false;
    }
    try {
      const missing = stages.length < params.stages.length ? `the GPU was lost (${fault}), and the page’s bytes of the second model with it: load it again` : null;
      if (missing !== null) this.#adapter = undefined;
      this.#params = { ...params, stages };
      const loaded = await loadAgain(this.#params, { info, fault, missing }, this.#threads, (loaded) => this.#adapt(loaded));
      this.#take(loaded);
      if (!loaded.gpu) this.#adapter = undefined;
      return true;
    } catch (error) {
      this.#gone = { ...before, reason: `the GPU was lost, and the model could not be loaded again: ${reasonOf(error)}` };
      return false;
    }
  }

  /**
   * What can be loaded again: the first model goes on alone where the second was the page's bytes.
   *
   * @param {import('../protocol.js').StageSource[]} stages
   */
  #leftOf(stages) {
    const first = stages.findIndex(({ source }) => source.kind === 'feed');
    return first === -1 ? stages : stages.slice(0, first);
  }

  /**
   * @param {number[]} thresholds One a stage, or none.
   * @returns {number[]} Of the stages that are left.
   */
  #ofStages(thresholds) {
    return thresholds.slice(0, this.#params?.stages.length);
  }

  /**
   * Puts the adapter in force that was.
   *
   * @param {Loaded} loaded
   */
  async #adapt({ classifier, exports }) {
    if (this.#adapter) await applyAdapter(classifier, this.#adapter.files, exports.adapter_files(), this.#adapter.how);
    else if (this.#adapter === null) await removeAdapter(classifier);
  }

  /** Nothing of any message is held afterwards. */
  forget() {
    this.#loaded?.classifier.forget();
  }

  /** @returns {ModelInfo} */
  info() {
    if (this.#gone) return this.#gone;
    const { exports, classifier, gpu, reason } = this.#model();
    return {
      ...classifier.info(),
      gpu: gpu && gpu.info,
      reason,
      wasmMemoryBytes: [...this.#memories].reduce((bytes, memory) => bytes + memory.buffer.byteLength, 0),
      maxMessageChars: exports.max_message_chars(),
    };
  }

  #model() {
    if (this.#gone) throw new IntentError('device_lost', `${this.#gone.reason}`);
    if (!this.#loaded) throw new IntentError('unavailable', 'no model is loaded');
    return this.#loaded;
  }
}

/** @param {import('./wasm-module.d.ts').Classifier} classifier */
async function removeAdapter(classifier) {
  classifier.begin_removal();
  await settleAdapter(classifier);
}

/**
 * What is left to say of a message where a GPU has taken the model along.
 *
 * @param {string} text
 * @param {ModelInfo} gone
 * @returns {ClassifyResult}
 * @throws {IntentError} `empty_message`
 */
function unanswered(text, { stage, backend, threads }) {
  if (text.trim() === '') throw new IntentError('empty_message', 'the message is empty');
  return {
    intent: 'unknown',
    json: '{"intent": "unknown"}',
    confidence: null,
    probabilities: null,
    margin: null,
    decision: { route: 'escalate', reason: 'error:device_lost' },
    stage,
    backend,
    threads,
    ms: 0,
  };
}
