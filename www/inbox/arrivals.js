/** Says aloud what arrives: a list that grows is announced to nobody. */

import { element } from '../ui/dom.js';
import { intentTitle } from '../ui/words.js';

/** @typedef {import('./connection.js').Item} Item */

/** How long arrivals are collected, in milliseconds, to be said together: a busy inbox must not talk all the time. */
const COLLECT_MS = 3_000;

export class Arrivals {
  #status = element('inbox-arrivals', HTMLElement);
  /** Those that were not said yet. @type {Item[]} */
  #items = [];

  /** @param {Item} item */
  add(item) {
    this.#items.push(item);
    if (this.#items.length === 1) setTimeout(() => this.#say(), COLLECT_MS);
  }

  #say() {
    const items = this.#items.splice(0);
    const { id, intent } = items[items.length - 1];
    // With its number: the same words a second time would be no change.
    const latest = `${intentTitle(intent)}, no. ${id}.`;
    this.#status.textContent = items.length === 1 ? `1 new escalation: ${latest}` : `${items.length} new escalations, the latest: ${latest}`;
  }
}
