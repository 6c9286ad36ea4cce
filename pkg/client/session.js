/**
 * One customer typing one message: the latest text wins.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { checkText } from './arguments.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../api.js').ProvisionalResult} ProvisionalResult */
/** @typedef {(text: string, signal: AbortSignal) => Promise<ClassifyResult>} Ask */

/**
 * Made by `IntentClassifier.session()`. At most one call is under way and one waits, however fast
 * the text changes, so the answer to the latest text is never far away.
 */
export class Session {
  /** @type {Ask} */
  #ask;
  /** @type {Ask} */
  #decide;
  /** @type {() => void} */
  #forget;
  /** The call whose answer is still wanted. @type {AbortController | null} */
  #latest = null;
  #text = '';
  #closed = false;

  /**
   * @param {Ask} ask Classifies, and nothing else.
   * @param {Ask} decide Classifies a message that was sent: what it says may be acted on.
   * @param {() => void} forget Makes the model forget what it holds of the message.
   */
  constructor(ask, decide, forget) {
    this.#ask = ask;
    this.#decide = decide;
    this.#forget = forget;
  }

  /**
   * Takes the whole text as it is now. Nothing is ever sent anywhere because of the answer.
   *
   * @param {string} text
   * @returns {Promise<ProvisionalResult>}
   * @throws {IntentError} `superseded` when a later call came first; `empty_message`, and whatever
   *   `classify` rejects with.
   */
  async update(text) {
    const result = await this.#run(this.#ask, text);
    return { ...result, provisional: true };
  }

  /**
   * Takes the message as it was sent, and answers as `classify` does.
   *
   * @param {string} [text] That of the last `update` if omitted.
   * @returns {Promise<ClassifyResult>}
   * @throws {IntentError} As `classify`.
   */
  async submit(text = this.#text) {
    try {
      return await this.#run(this.#decide, text);
    } finally {
      this.#forget();
    }
  }

  /**
   * Ends the session. The call under way and later ones reject with `disposed`. What the model holds
   * of the message is forgotten.
   */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#latest?.abort(ended());
    this.#text = '';
    this.#forget();
  }

  /**
   * @param {Ask} ask
   * @param {string} text
   */
  async #run(ask, text) {
    if (this.#closed) throw ended();
    this.#text = checkText(text);
    this.#latest?.abort(new IntentError('superseded', 'a later call of the session came first'));
    const mine = new AbortController();
    this.#latest = mine;
    try {
      return await ask(text, mine.signal);
    } catch (error) {
      throw mine.signal.aborted ? mine.signal.reason : error;
    } finally {
      if (this.#latest === mine) this.#latest = null;
    }
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 * @throws {IntentError} `aborted`
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => (clearTimeout(timer), reject(new IntentError('aborted', 'the call was aborted', { cause: signal.reason })));
    const timer = setTimeout(() => (signal.removeEventListener('abort', end), resolve()), ms);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

function ended() {
  return new IntentError('disposed', 'the session was closed');
}
