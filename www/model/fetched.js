/** How much of the models came from elsewhere, by what loading them reports. */

/** @typedef {import('/pkg/index.js').LoadProgress} LoadProgress */

export class Fetched {
  #onChange;
  /** Of loads that have ended, or begun again. */
  #before = 0;
  /** Of the one under way. */
  #now = 0;
  /** Bytes of it that are there, wherever they came from. */
  #loaded = 0;
  /** How much of it is a file of somebody's own. */
  #own = 0;

  /** @param {(bytes: number) => void} onChange All bytes so far. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** @param {number} own Bytes of the next model that are read from a file of somebody's own. */
  begin(own) {
    this.#again();
    this.#own = own;
  }

  #again() {
    this.#before += this.#now;
    [this.#now, this.#loaded] = [0, 0];
  }

  /** @param {LoadProgress} progress */
  add({ phase, loaded, total, cache }) {
    if (phase !== 'download') return;
    // Another build reads the model from its beginning.
    if (loaded < this.#loaded) this.#again();
    this.#loaded = loaded;
    const foreign = Math.min(loaded, (total ?? Infinity) - this.#own) - (cache?.bytes ?? 0);
    // What is read ahead from the cache is in its bytes before it is loaded.
    this.#now = Math.max(foreign, this.#now);
    this.#onChange(this.#before + this.#now);
  }
}
