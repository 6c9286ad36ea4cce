/** One customer's typing: the latest text is classified while it changes, and each message that is sent exactly once. */

import { IntentError } from '/pkg/index.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('/pkg/index.js').Session} Session */

/** Outcomes that say nothing to the person: a later text came, or the model went. */
const QUIET = ['superseded', 'disposed', 'aborted', 'empty_message'];

export class Typing {
  /** @type {Session | null} */
  #session = null;
  #text = '';
  #onResult;
  #onError;

  /**
   * @param {{ onResult: (text: string, result: ClassifyResult) => void, onError: (error: unknown) => void }} events
   *   Of texts that are still being typed.
   */
  constructor({ onResult, onError }) {
    this.#onResult = onResult;
    this.#onError = onError;
  }

  /** @param {IntentClassifier | null} classifier */
  use(classifier) {
    this.#session?.close();
    this.#session = classifier?.session() ?? null;
  }

  /** @param {string} text The whole of it, as it is now. */
  update(text) {
    this.#text = text;
    void this.#look();
  }

  /**
   * @param {string} text
   * @returns {Promise<ClassifyResult>}
   * @throws {IntentError} As `classify`.
   */
  async submit(text) {
    const session = this.#session;
    if (!session) throw new IntentError('disposed', 'there is no model');
    this.#text = '';
    return session.submit(text);
  }

  async #look() {
    const [session, text] = [this.#session, this.#text];
    if (!session || text.trim() === '') return;
    try {
      const result = await session.update(text);
      if (this.#text === text) this.#onResult(text, result);
    } catch (error) {
      if (!(error instanceof IntentError && QUIET.includes(error.code))) this.#onError(error);
    }
  }
}
