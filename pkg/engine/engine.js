/**
 * The model inside the Worker: loads it from a byte stream, then answers synchronously.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { toWire } from '../protocol.js';
import { applyAdapter, openAdapter, settleAdapter } from './adapter-source.js';
import { lostGpu, reasonOf } from './gpu.js';
import { answer, load, loadOnCpu, loadOnGpu } from './loading.js';
import { ProgressReporter } from './progress.js';
import { nextTurn } from './turns.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../protocol.js').BatchOutcome} BatchOutcome */
/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./loading.js').Loaded} Loaded */
/** @typedef {import('./loading.js').LoadParams} LoadParams */

export class Engine {
  /** @type {Loaded | null} */
  #loaded = null;
  /** What was loaded, for when a GPU takes it along. @type {LoadParams | null} */
  #params = null;
  /** The adapter that was set since, `null` where that was none. @type {{ files: (Uint8Array | null)[], how: { config?: string, force: boolean } } | null | undefined} */
  #adapter;
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
    this.#loaded = await load(params, feeds, this.#threads, onProgress);
    this.#params = params;
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
    const { exports, classifier } = this.#model();
    if (source === null) {
      classifier.begin_removal();
      await settleAdapter(classifier);
      this.#adapter = null;
      return;
    }
    const progress = new ProgressReporter(onProgress);
    const list = exports.adapter_files();
    const adapter = await openAdapter(source, list, this.#params?.cache ? { progress } : null, signal);
    progress.start(adapter.total);
    const files = await adapter.read(progress);
    progress.end();
    // From here on it is too late for an abort.
    await progress.step('prepare', () => applyAdapter(classifier, files, list, how));
    this.#adapter = { files, how };
    onProgress({ phase: 'ready', loaded: 1, total: 1 });
  }

  /**
   * @param {string} text
   * @param {import('../protocol.js').EngineOptions} options
   * @returns {Promise<ClassifyResult>}
   */
  async classify(text, options) {
    return /** @type {ClassifyResult} */ (await this.#outliving(async ({ classifier, gpu }) => {
      if (!gpu) return classifier.classify(text, options);
      return answer(gpu.classifier, text, options.token_confidence ? 'score in full' : 'score', options.thresholds ?? []);
    }));
  }

  /**
   * @param {string[]} texts
   * @param {number[]} thresholds
   * @returns {Promise<BatchOutcome[]>}
   * @throws {IntentError} `invalid_argument` of the thresholds.
   */
  async classifyBatch(texts, thresholds) {
    const { classifier, gpu } = this.#model();
    if (!gpu) return classifier.classify_batch(texts, Float32Array.from(thresholds));
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
    return this.#outliving(async ({ classifier, gpu }) => {
      for (let step = classifier.begin(text, goal, Float32Array.from(thresholds)); ; step = classifier.advance()) {
        if (step.state === 'done') return step.result;
        if (step.state === 'held') return null;
        await (step.state === 'waiting' ? gpu?.classifier.answered() : nextTurn());
        if (signal.aborted) throw new IntentError('aborted', 'a later call came first');
      }
    });
  }

  /**
   * Asks again where the GPU was lost meanwhile. The first time it is looked for again, then the CPU takes over. Where the
   * weights can't be had again, the answer is what is left to say without them: `unknown`, to be escalated.
   *
   * @param {(loaded: Loaded) => Promise<ClassifyResult | null>} ask
   * @returns {Promise<ClassifyResult | null>}
   */
  async #outliving(ask) {
    for (;;) {
      const loaded = this.#model();
      const result = await ask(loaded);
      if (!loaded.gpu || !result || !lostGpu(result) || !(await this.#recover(loaded, loaded.gpu))) return result;
    }
  }

  /**
   * @param {Loaded} lost
   * @param {NonNullable<Loaded['gpu']>} gpu
   * @returns {Promise<boolean>} Whether there is anyone to ask again.
   */
  async #recover(lost, { info }) {
    const params = /** @type {LoadParams} */ (this.#params);
    if (params.stages.some(({ source }) => source.kind === 'feed')) {
      this.#loaded = { ...lost, reason: 'the GPU was lost, and the page’s bytes with it: load the model again' };
      return false;
    }
    const quietly = () => {};
    let why = 'the GPU was lost twice';
    if (info.losses === 0) {
      try {
        this.#loaded = await this.#adapted(await loadOnGpu(params, [], quietly, { ...info, losses: 1 }));
        return true;
      } catch (error) {
        why = `the GPU was lost, and then: ${reasonOf(error)}`;
      }
    }
    try {
      this.#loaded = await this.#adapted(await loadOnCpu(params, [], this.#threads, quietly, `no WebGPU: ${why}`));
      return true;
    } catch (error) {
      this.#loaded = { ...lost, reason: `the GPU was lost, and the model could not be loaded again: ${reasonOf(error)}` };
      return false;
    }
  }

  /**
   * The same with the adapter that was in force.
   *
   * @param {Loaded} loaded
   */
  async #adapted(loaded) {
    const { classifier, exports } = loaded;
    if (this.#adapter) {
      await applyAdapter(classifier, this.#adapter.files, exports.adapter_files(), this.#adapter.how);
    } else if (this.#adapter === null) {
      classifier.begin_removal();
      await settleAdapter(classifier);
    }
    return loaded;
  }

  /** Nothing of any message is held afterwards. */
  forget() {
    this.#model().classifier.forget();
  }

  /** @returns {import('../api.js').ModelInfo} */
  info() {
    const { exports, memory, classifier, gpu, reason } = this.#model();
    return {
      ...classifier.info(),
      gpu: gpu && gpu.info,
      reason,
      wasmMemoryBytes: memory.buffer.byteLength,
      maxMessageChars: exports.max_message_chars(),
    };
  }

  #model() {
    if (!this.#loaded) throw new IntentError('unavailable', 'no model is loaded');
    return this.#loaded;
  }
}
