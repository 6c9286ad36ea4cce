/** Counts what the page asks the network for, as the browser's own record has it. What Workers ask for is in records of theirs. */

export class RequestWatch {
  #onChange;
  #since = Infinity;
  /** @type {string[]} */
  #paths = [];

  /** @param {(paths: string[]) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    const observer = new PerformanceObserver((list) => {
      const later = list.getEntries().filter(({ startTime }) => startTime >= this.#since);
      if (later.length === 0) return;
      this.#paths.push(...later.map(({ name }) => new URL(name).pathname));
      this.#onChange(this.#paths);
    });
    observer.observe({ type: 'resource' });
  }

  /** Counts from now on, from zero. */
  start() {
    this.#since = performance.now();
    this.#paths = [];
    this.#onChange(this.#paths);
  }

  stop() {
    this.#since = Infinity;
  }
}
