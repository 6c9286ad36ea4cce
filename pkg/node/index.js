/**
 * The package's entry in Node 20 and later: the same interface, with a worker thread in place of
 * the browser's Worker. Models by address may be `file:` addresses; nothing is kept of those that
 * are fetched.
 *
 * @module
 */

import { Worker } from 'node:worker_threads';
import { provideWorker } from '../client/runtime.js';

/** A worker thread with as much of a browser's Worker as the package uses. */
class ThreadWorker extends EventTarget {
  /** @type {Worker} */
  // Without the process's own options: some, such as --input-type, are not for threads.
  #thread = new Worker(new URL('./worker.js', import.meta.url), { execArgv: [] });

  constructor() {
    super();
    // Waiting for calls must not keep the process alive; a call under way must.
    this.#thread.unref();
    this.#thread.on('message', (data) => this.dispatchEvent(Object.assign(new Event('message'), { data })));
    this.#thread.on('messageerror', () => this.dispatchEvent(new Event('messageerror')));
    this.#thread.on('error', (error) => this.dispatchEvent(Object.assign(new Event('error'), { message: error.message })));
  }

  /** @param {boolean} busy Whether an answer is awaited. */
  keepAlive(busy) {
    if (busy) this.#thread.ref();
    else this.#thread.unref();
  }

  /**
   * @param {unknown} message
   * @param {import('node:worker_threads').TransferListItem[]} transfer
   */
  postMessage(message, transfer) {
    this.#thread.postMessage(message, transfer);
  }

  terminate() {
    void this.#thread.terminate();
  }
}

provideWorker(() => new ThreadWorker());

export * from '../index.js';
