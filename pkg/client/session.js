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

/** A call under way. @typedef {{ abort: AbortController, why: IntentError | null }} Call */

/**
 * Made by `IntentClassifier.session()`. Of its updates at most one is under way and one waits, however fast
 * the text changes, so the answer to the latest text is never far away. A message that was sent is always answered.
 */
export class Session {
  /** @type {Ask} */
  #ask;
  /** @type {Ask} */
  #decide;
  /** @type {() => void} */
  #forget;
  /** The update whose answer is still wanted. @type {Call | null} */
  #update = null;
  /** Updates and submits. @type {Set<Call>} */
  #underWay = new Set();
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
    const result = await this.#run(this.#ask, text, true);
    return { ...result, provisional: true };
  }

  /**
   * Takes the message as it was sent, and answers as `classify` does, whatever comes after it.
   *
   * @param {string} [text] That of the last `update` if omitted.
   * @returns {Promise<ClassifyResult>}
   * @throws {IntentError} As `classify`; `disposed` when the session is closed first.
   */
  async submit(text = this.#text) {
    try {
      return await this.#run(this.#decide, text, false);
    } finally {
      this.#forget();
    }
  }

  /**
   * Ends the session. Calls under way and later ones reject with `disposed`. What the model holds
   * of the message is forgotten.
   */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    for (const call of this.#underWay) end(call, closed());
    this.#text = '';
    this.#forget();
  }

  /**
   * @param {Ask} ask
   * @param {string} text
   * @param {boolean} isUpdate A later call ends updates only: a message that was sent may have to reach a person.
   */
  async #run(ask, text, isUpdate) {
    if (this.#closed) throw closed();
    this.#text = checkText(text);
    if (this.#update) end(this.#update, new IntentError('superseded', 'a later call of the session came first'));
    /** @type {Call} */
    const mine = { abort: new AbortController(), why: null };
    this.#update = isUpdate ? mine : null;
    this.#underWay.add(mine);
    try {
      return await ask(text, mine.abort.signal);
    } catch (error) {
      throw mine.why ?? error;
    } finally {
      this.#underWay.delete(mine);
      if (this.#update === mine) this.#update = null;
    }
  }
}

/**
 * @param {Call} call
 * @param {IntentError} why Kept here: signals have no reasons before Chrome 98.
 */
function end(call, why) {
  call.why ??= why;
  call.abort.abort();
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

function closed() {
  return new IntentError('disposed', 'the session was closed');
}
