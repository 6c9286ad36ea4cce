/** Plays a sample conversation: types each message, sends it, waits for the answer. */

/** So many characters appear at once, and so often, in milliseconds. */
const STEP_CHARS = 2;
const STEP_MS = 28;

/** Between two messages, in milliseconds. */
const PAUSE_MS = 700;

/** @typedef {{ type: (text: string) => void, send: () => Promise<void> }} Composer */

export class Player {
  #composer;
  #onChange;
  /** @type {AbortController | null} */
  #playing = null;

  /**
   * @param {Composer} composer
   * @param {(playing: boolean) => void} onChange
   */
  constructor(composer, onChange) {
    this.#composer = composer;
    this.#onChange = onChange;
  }

  /** Ends what is playing. */
  stop() {
    this.#playing?.abort();
  }

  /** @param {string[]} messages */
  async play(messages) {
    this.stop();
    const mine = new AbortController();
    this.#playing = mine;
    this.#onChange(true);
    try {
      for (const [index, message] of messages.entries()) {
        if (index > 0) await pause(PAUSE_MS, mine.signal);
        await this.#type(message, mine.signal);
        if (mine.signal.aborted) break;
        await this.#composer.send();
        if (mine.signal.aborted) break;
      }
    } finally {
      if (this.#playing === mine) {
        this.#playing = null;
        this.#onChange(false);
      }
    }
  }

  /**
   * @param {string} message
   * @param {AbortSignal} signal
   */
  async #type(message, signal) {
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const characters = Array.from(message);
    for (let end = still ? characters.length : STEP_CHARS; !signal.aborted; end += STEP_CHARS) {
      this.#composer.type(characters.slice(0, end).join(''));
      if (end >= characters.length) return;
      await pause(STEP_MS, signal);
    }
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal Ends it early.
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
