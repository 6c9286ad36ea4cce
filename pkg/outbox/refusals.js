/**
 * Whether an attempt that failed says something of the address, or of its message only.
 *
 * @module
 */

/** @typedef {import('./send.js').Retry} Retry */

/** Most messages at once that are taken to be at fault themselves: an address may fail while some are. */
const MAX_ALONE = 8;

/**
 * What stands between, a firewall for example, may refuse one message for what it says, again and again. Such a one must
 * not hold up the others for as long as it waits itself.
 */
export class Refusals {
  /** Whether a message got through since the last pause. */
  #through = false;
  /** Keys of messages that were refused since, and had been before. @type {Set<string>} */
  #alone = new Set();

  /** Notes that a message got through. */
  sent() {
    this.#through = true;
    this.#alone.clear();
  }

  /**
   * @param {{ key: string, attempts: number }} record As it was before the attempt.
   * @param {Retry} outcome
   * @returns {boolean} Whether the others need not be tried before it.
   */
  pauses({ key, attempts }, { concerns }) {
    if (concerns === 'message') return false;
    if (concerns === 'unknown' && this.#through && attempts > 0) {
      this.#alone.add(key);
      if (this.#alone.size <= MAX_ALONE) return false;
    }
    this.#through = false;
    this.#alone.clear();
    return true;
  }
}
