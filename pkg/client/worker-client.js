/**
 * Owner of the Worker: queues requests, sends one at a time, and rejects whatever is pending when
 * the Worker is gone.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { fromWire } from '../protocol.js';
import { createThread, createWorker } from './runtime.js';

/** @typedef {import('../protocol.js').Calls} Calls */
/** @typedef {import('../protocol.js').FromWorker} FromWorker */
/** @typedef {import('../protocol.js').ToWorker} ToWorker */

/** @typedef {(position: number) => Uint8Array<ArrayBuffer> | null} ReadChunk The bytes from there on, `null` at the end. */

/**
 * @typedef {object} RequestHooks
 * @property {AbortSignal} [signal]
 * @property {(progress: import('../api.js').LoadProgress) => void} [onProgress]
 * @property {(ReadChunk | undefined)[]} [readChunk] For each stage with a `feed` source.
 * @property {boolean} [cancels] Whether the Worker can end the request. An abort is then settled by
 *   the Worker's answer: only it knows whether the abort came in time.
 */

/**
 * @typedef {object} Job
 * @property {import('../protocol.js').Request} request
 * @property {RequestHooks} hooks
 * @property {(value: any) => void} resolve
 * @property {(error: IntentError) => void} reject
 */

export class WorkerClient {
  /** @type {import('./runtime.js').WorkerLike} */
  #worker;
  /** @type {Job[]} */
  #queue = [];
  /** The job the Worker is busy with; stays here after an abort, until the Worker answers. @type {Job | null} */
  #active = null;
  /** Workers that help it. @type {import('./runtime.js').WorkerLike[]} */
  #threads = [];
  /** Why nothing more can be asked. @type {IntentError | null} */
  #stopped = null;
  #nextId = 1;

  constructor() {
    try {
      this.#worker = createWorker();
    } catch (error) {
      throw new IntentError('worker_failed', `the Worker could not be created: ${error}`, { cause: error });
    }
    this.#worker.addEventListener('message', (event) => this.#onMessage(event.data));
    this.#worker.addEventListener('messageerror', () => {
      this.stop(new IntentError('worker_failed', 'a message from the Worker could not be read'));
    });
    this.#worker.addEventListener('error', (event) => {
      // Reported by rejecting; without this it would also show up as an uncaught error of the page.
      event.preventDefault();
      const detail = event.message || 'its script could not be loaded';
      this.stop(new IntentError('worker_failed', `the Worker failed: ${detail}`));
    });
  }

  /**
   * @template {keyof Calls} K
   * @param {K} type
   * @param {Calls[K]['params']} params
   * @param {RequestHooks} [hooks]
   * @returns {Promise<Calls[K]['value']>}
   */
  request(type, params, hooks = {}) {
    return new Promise((resolve, reject) => {
      if (this.#stopped) {
        reject(new IntentError(this.#stopped.code, this.#stopped.message, { cause: this.#stopped }));
        return;
      }
      const { signal } = hooks;
      if (signal?.aborted) {
        reject(abortedBy(signal));
        return;
      }
      const request = /** @type {import('../protocol.js').Request} */ ({ type, id: this.#nextId++, params });
      const onAbort = () => this.#abandon(job);
      const settle = () => signal?.removeEventListener('abort', onAbort);
      /** @type {Job} */
      const job = {
        request,
        hooks,
        resolve: (value) => (settle(), resolve(value)),
        reject: (error) => (settle(), reject(error)),
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(job);
      this.#sendNext();
    });
  }

  /** @param {import('../protocol.js').ThreadStart} start */
  #startThread(start) {
    const failed = () => {
      if (!this.#stopped) this.#post({ type: 'thread_failed' });
    };
    try {
      const thread = createThread();
      this.#threads.push(thread);
      thread.addEventListener('error', (event) => {
        event.preventDefault();
        failed();
      });
      thread.addEventListener('messageerror', failed);
      thread.postMessage(start, []);
    } catch {
      failed();
    }
  }

  /**
   * Terminates the Worker, and with it all its memory. Pending requests are rejected with
   * `error`, later ones with another of the same code. Only the first call counts.
   *
   * @param {IntentError} error
   */
  stop(error) {
    if (this.#stopped) return;
    this.#stopped = error;
    for (const worker of [this.#worker, ...this.#threads]) worker.terminate();
    this.#threads = [];
    const pending = this.#active ? [this.#active, ...this.#queue] : this.#queue;
    this.#active = null;
    this.#queue = [];
    for (const job of pending) job.reject(error);
  }

  #sendNext() {
    if (this.#active) return;
    const job = this.#queue.shift();
    if (!job) return;
    this.#active = job;
    this.#worker.keepAlive?.(true);
    this.#post(job.request);
  }

  /**
   * @param {ToWorker} message
   * @param {Transferable[]} [transfer]
   */
  #post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /**
   * A queued job is dropped. A running one is cancelled, or, where that can't be done, its answer
   * will be ignored.
   *
   * @param {Job} job
   */
  #abandon(job) {
    if (job === this.#active && job.hooks.cancels) {
      this.#post({ type: 'cancel', id: job.request.id });
      return;
    }
    this.#queue = this.#queue.filter((other) => other !== job);
    if (job.hooks.signal) job.reject(abortedBy(job.hooks.signal));
  }

  /** @param {FromWorker} message */
  #onMessage(message) {
    if (message.type === 'thread') {
      if (!this.#stopped) this.#startThread(message.start);
      return;
    }
    const job = this.#active;
    if (!job || job.request.id !== message.id) return;
    switch (message.type) {
      case 'progress':
        if (!job.hooks.signal?.aborted) job.hooks.onProgress?.(message.progress);
        break;
      case 'pull':
        this.#feed(job, message.stage, message.position);
        break;
      case 'value':
        job.resolve(message.value);
        this.#finish();
        break;
      case 'error':
        this.#onError(job, message.error);
        break;
    }
  }

  /**
   * @param {Job} job
   * @param {import('../protocol.js').WireError} wire
   */
  #onError(job, wire) {
    const { signal } = job.hooks;
    const error = wire.code === 'aborted' && signal?.aborted ? abortedBy(signal) : fromWire(wire);
    if (wire.fatal) {
      this.stop(error);
      return;
    }
    job.reject(error);
    this.#finish();
  }

  #finish() {
    this.#active = null;
    this.#worker.keepAlive?.(false);
    this.#sendNext();
  }

  /**
   * @param {Job} job
   * @param {number} stage
   * @param {number} position
   */
  #feed(job, stage, position) {
    try {
      const bytes = job.hooks.readChunk?.[stage]?.(position) ?? null;
      this.#post({ type: 'chunk', id: job.request.id, stage, bytes }, bytes ? [bytes.buffer] : []);
    } catch (error) {
      this.stop(error instanceof IntentError ? error : new IntentError('worker_failed', String(error), { cause: error }));
    }
  }
}

/**
 * @param {AbortSignal} signal
 * @returns {IntentError}
 */
export function abortedBy(signal) {
  return new IntentError('aborted', 'the call was aborted', { cause: signal.reason });
}
