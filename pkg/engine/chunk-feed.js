/**
 * Bytes that the page hands over on request, one slice at a time.
 *
 * @module
 */

export class ChunkFeed {
  /** Bytes that have come. */
  #position = 0;
  /** @type {(position: number) => void} */
  #requestChunk;
  /** @type {((bytes: Uint8Array<ArrayBuffer> | null) => void) | null} */
  #waiting = null;

  /** @param {(position: number) => void} requestChunk Asks the page for the slice from there on. */
  constructor(requestChunk) {
    this.#requestChunk = requestChunk;
  }

  /** @returns {Promise<Uint8Array<ArrayBuffer> | null>} The next slice, `null` at the end. */
  pull() {
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#requestChunk(this.#position);
    });
  }

  /** @param {Uint8Array<ArrayBuffer> | null} bytes The page's answer to a pull. */
  give(bytes) {
    const resolve = this.#waiting;
    this.#waiting = null;
    this.#position += bytes?.byteLength ?? 0;
    resolve?.(bytes);
  }
}
