/** Messages of the inbox, newest first. They are shown as text, never as markup. */

import { element, showError } from '../ui/dom.js';
import { InboxConnection } from './connection.js';
import { inboxRow } from './inbox-row.js';

/** @typedef {import('./connection.js').Item} Item */
/** @typedef {import('./connection.js').Page} Page */
/** @typedef {import('./connection.js').State} State */

/** @type {Record<State, string>} */
const STATES = { off: 'Not connected', connecting: 'Connecting', live: 'Live', token: 'Needs a token', absent: 'No inbox here' };

/** What an empty list means. @type {Record<State, string>} */
const EMPTY = {
  off: 'The privacy switch is on: this page has no connection to the inbox.',
  connecting: 'Connecting.',
  live: 'Nothing has arrived yet.',
  token: 'This server shows its inbox to those who have its token.',
  absent: 'The host of this page has no inbox, so nothing is sent.',
};

export class InboxView {
  #list = element('inbox', HTMLUListElement);
  #status = element('inbox-status', HTMLElement);
  #empty = element('inbox-empty', HTMLElement);
  #older = element('inbox-older', HTMLButtonElement);
  #form = element('inbox-token', HTMLFormElement);
  #error = element('inbox-error', HTMLElement);
  #connection = new InboxConnection({
    onState: (state) => this.#showState(state),
    onPage: (page) => this.#showNewest(page),
    onItem: (item) => this.#show(item),
  });
  #onState;
  /** @type {State} */
  #state = 'off';
  /** @type {number | null} */
  #next = null;
  /** Rows, and the messages as the server has them. @type {Map<number, { row: HTMLLIElement, item: Item }>} */
  #shown = new Map();
  /** That an agent may give. @type {string[]} */
  #labels = [];

  /** @param {(state: State) => void} [onState] */
  constructor(onState = () => undefined) {
    this.#onState = onState;
    this.#older.addEventListener('click', () => void this.#showOlder());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#connection.token = element('token', HTMLInputElement).value.trim();
      this.#connection.connect();
    });
  }

  /** What the server asks for, or nothing. */
  get token() {
    return this.#connection.token;
  }

  connect() {
    this.#connection.connect();
  }

  disconnect() {
    this.#connection.disconnect();
  }

  /** @returns {Promise<Blob | null>} Agents' corrections; `null` where that failed, which the inbox says. */
  corrections() {
    return this.#attempt(() => this.#connection.corrections());
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T | null>}
   */
  async #attempt(work) {
    showError(this.#error, null);
    try {
      return await work();
    } catch (error) {
      showError(this.#error, error);
      return null;
    }
  }

  /** @param {State} state */
  #showState(state) {
    this.#state = state;
    this.#status.textContent = STATES[state];
    this.#status.dataset.state = state;
    this.#form.hidden = state !== 'token';
    // What an agent says would be sent.
    this.#list.inert = state === 'off';
    this.#showEmpty();
    this.#onState(state);
  }

  #showEmpty() {
    this.#empty.textContent = EMPTY[this.#state];
    this.#empty.hidden = this.#shown.size > 0;
  }

  /** @param {Page} page */
  #showNewest({ items, next, labels }) {
    this.#labels = labels;
    const wanted = new Set(items.map(({ id }) => id));
    // Those that are older than this page stay; of the others, what is not in it is gone.
    const oldest = items.at(-1)?.id ?? 0;
    for (const [id, { row }] of this.#shown) {
      if (wanted.has(id) || (next !== null && id < oldest)) continue;
      row.remove();
      this.#shown.delete(id);
    }
    const hadOlder = Array.from(this.#shown.keys()).some((id) => id < oldest);
    for (const item of items) this.#show(item);
    if (!hadOlder) this.#setNext(next);
    this.#showEmpty();
  }

  async #showOlder() {
    const before = this.#next;
    if (before === null) return;
    const page = await this.#attempt(() => this.#connection.older(before));
    if (!page) return;
    for (const item of page.items) this.#show(item);
    this.#setNext(page.next);
  }

  /** @param {number | null} next */
  #setNext(next) {
    this.#next = next;
    this.#older.hidden = next === null;
  }

  /**
   * @param {Item} item
   * @param {unknown} [error] Why its last change is not stored.
   */
  #show(item, error = null) {
    const row = inboxRow(item, { labels: this.#labels, onChange: (change) => void this.#change(item.id, change), error });
    const before = this.#shown.get(item.id)?.row;
    if (before) {
      const focused = before.contains(document.activeElement) ? document.activeElement?.localName : undefined;
      /** @type {HTMLElement | null} */
      const again = focused ? row.querySelector(focused) : null;
      before.replaceWith(row);
      again?.focus();
    } else {
      const below = Array.from(this.#list.children).find((other) => Number(/** @type {HTMLElement} */ (other).dataset.id) < item.id);
      this.#list.insertBefore(row, below ?? null);
      row.classList.toggle('is-new', this.#state === 'live');
    }
    this.#shown.set(item.id, { row, item });
    this.#showEmpty();
  }

  /**
   * @param {number} id
   * @param {import('./inbox-row.js').Change} change
   */
  async #change(id, change) {
    try {
      await this.#connection.change(id, change);
    } catch (error) {
      const shown = this.#shown.get(id);
      // As the server has it: nobody should take for stored what is not.
      if (shown) this.#show(shown.item, error);
      else showError(this.#error, error);
    }
  }
}
