/**
 * Bytes that the page hands over on request, one slice at a time.
 *
 * @module
 */

export class ChunkFeed {
  /** @type {() => void} */
  #requestChunk;
  /** @type {((bytes: Uint8Array<ArrayBuffer> | null) => void) | null} */
  #waiting = null;

  /** @param {() => void} requestChunk Asks the page for the next slice. */
  constructor(requestChunk) {
    this.#requestChunk = requestChunk;
  }

  /** @returns {Promise<Uint8Array<ArrayBuffer> | null>} The next slice, `null` at the end. */
  pull() {
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#requestChunk();
    });
  }

  /** @param {Uint8Array<ArrayBuffer> | null} bytes The page's answer to a pull. */
  give(bytes) {
    const resolve = this.#waiting;
    this.#waiting = null;
    resolve?.(bytes);
  }
}
