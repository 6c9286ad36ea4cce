/**
 * Progress events, thinned so that they don't flood the page.
 *
 * @module
 */

/** @typedef {import('../api.js').LoadProgress} LoadProgress */

/** Shortest time between two events within the download, in milliseconds. */
const INTERVAL_MS = 50;

export class ProgressReporter {
  /** @type {(progress: LoadProgress) => void} */
  #emit;
  #started = false;
  #loaded = 0;
  /** @type {number | null} */
  #total = null;
  #lastEmit = 0;
  /** What is said of the cache, once there is something to say. @type {import('../api.js').CacheProgress | null} */
  #cache = null;

  /** @param {(progress: LoadProgress) => void} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  /**
   * A phase that is one step.
   *
   * @template T
   * @param {'wasm' | 'prepare'} phase
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async step(phase, work) {
    this.#emit({ phase, loaded: 0, total: 1 });
    const value = await work();
    this.#emit({ phase, loaded: 1, total: 1 });
    return value;
  }

  /**
   * A phase of many steps.
   *
   * @param {'gpu'} phase
   * @param {number} count
   * @param {(index: number) => Promise<unknown>} work
   */
  async steps(phase, count, work) {
    this.#emit({ phase, loaded: 0, total: count });
    for (let index = 0; index < count; index += 1) {
      await work(index);
      this.#emit({ phase, loaded: index + 1, total: count });
    }
  }

  /** @param {number | null} total Bytes to expect. */
  start(total) {
    this.#total = total;
    this.#started = true;
    this.#report();
  }

  /** @param {number} bytes That have just arrived. */
  add(bytes) {
    this.#loaded += bytes;
    // What was announced was wrong: better no total than more than all of it.
    if (this.#total !== null && this.#loaded > this.#total) this.#total = null;
    if (performance.now() - this.#lastEmit >= INTERVAL_MS) this.#report();
  }

  /**
   * @param {import('../api.js').CacheProgress['state']} state
   * @param {string} [reason] Why the cache refused.
   */
  cacheIs(state, reason) {
    this.#cache = { state, bytes: this.#cache?.bytes ?? 0, ...(reason !== undefined && { reason }) };
    if (this.#started) this.#report();
  }

  /** @param {number} bytes That have just been read from the cache. */
  fromCache(bytes) {
    if (this.#cache) this.#cache = { ...this.#cache, bytes: this.#cache.bytes + bytes };
  }

  /** Says nothing any more, whoever still reports. */
  silence() {
    this.#emit = () => {};
  }

  /** All bytes are there. */
  end() {
    this.#total = this.#loaded;
    this.#report();
  }

  #report() {
    this.#lastEmit = performance.now();
    this.#emit({ phase: 'download', loaded: this.#loaded, total: this.#total, ...(this.#cache && { cache: this.#cache }) });
  }
}

/**
 * @param {(number | null)[]} totals Bytes of parts, `null` where not known.
 * @returns {number | null} Bytes of all, `null` where one is not known.
 */
export function sumOf(totals) {
  return totals.reduce((sum, total) => (sum === null || total === null ? null : sum + total), /** @type {number | null} */ (0));
}
