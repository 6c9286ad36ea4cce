/** The counter over the conversation: how much was answered here, and how much left. */

import { element } from '../ui/dom.js';
import { bytes, whole } from '../ui/format.js';

/** @typedef {import('/pkg/index.js').OutboxItem} OutboxItem */

export class Tally {
  #messages = 0;
  #local = 0;
  #escalated = 0;
  /** Bytes by message, of those that this page has sent. @type {Map<string, number>} */
  #sent = new Map();

  /** @param {import('/pkg/index.js').ClassifyResult} result Of a message that the customer sent. */
  add({ decision, escalation }) {
    this.#messages += 1;
    if (decision.route === 'local') this.#local += 1;
    else this.#escalated += 1;
    if (escalation !== undefined && !this.#sent.has(escalation)) this.#sent.set(escalation, 0);
    this.#show();
  }

  /** @param {OutboxItem} item What became of a message; another page's does not count. */
  delivered({ key, bytes }) {
    if (!this.#sent.has(key)) return;
    this.#sent.set(key, bytes);
    this.#show();
  }

  #show() {
    const set = (/** @type {string} */ name, /** @type {string} */ text) => (element(`count-${name}`, HTMLElement).textContent = text);
    set('messages', whole(this.#messages));
    set('local', whole(this.#local));
    set('escalated', whole(this.#escalated));
    set('bytes', bytes(Array.from(this.#sent.values()).reduce((sum, one) => sum + one, 0)));
  }
}
