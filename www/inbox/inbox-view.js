/** Messages of the inbox, newest first. They are shown as text, never as markup. */

import { element, showError } from '../ui/dom.js';
import { Arrivals } from './arrivals.js';
import { InboxConnection } from './connection.js';
import { inboxRow } from './inbox-row.js';

/** @typedef {import('./connection.js').Item} Item */
/** @typedef {import('./connection.js').Page} Page */
/** @typedef {import('./connection.js').State} State */

/** @type {Record<State, string>} */
const STATES = { off: 'Not connected', connecting: 'Connecting', live: 'Live', token: 'Needs a token', refused: 'Refused', absent: 'No inbox here' };

/** What an empty list means. @type {Record<State, string>} */
const EMPTY = {
  off: 'The privacy switch is on: this page has no connection to the inbox.',
  connecting: 'Connecting.',
  live: 'Nothing has arrived yet.',
  token: 'This server shows its inbox to those who have its token.',
  refused: 'This server does not let a page at this address use its inbox.',
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
    onItem: (item) => this.#update(item),
  });
  #arrivals = new Arrivals();
  #onState;
  /** @type {State} */
  #state = 'off';
  /** Below it nothing was asked for yet; `null` where there is nothing below. @type {number | null} */
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
    this.#list.classList.toggle('is-read-only', state === 'off');
    this.#showRest();
    this.#onState(state);
  }

  /** What there is where no rows are. */
  #showRest() {
    this.#empty.textContent = EMPTY[this.#state];
    this.#empty.hidden = this.#shown.size > 0;
    this.#older.hidden = this.#next === null || this.#state === 'off';
  }

  /** @param {Page} page */
  #showNewest(page) {
    this.#labels = page.labels;
    const former = Array.from(this.#shown.keys());
    const [newest, lowest] = [Math.max(...former), Math.min(...former)];
    const oldest = page.items.at(-1)?.id ?? 0;
    // What came in between is not known: it would be missing in the middle of the list.
    if (page.next !== null && newest < oldest) this.#remove(() => true);
    this.#showPage(page, Infinity);
    if (this.#shown.has(lowest)) void this.#refresh(lowest);
  }

  /**
   * Asks again for older rows, which may have changed while nothing was heard.
   *
   * @param {number} lowest Of those that were shown.
   */
  async #refresh(lowest) {
    while (this.#next !== null && this.#next > lowest) {
      if (!(await this.#showOlder())) return;
    }
  }

  /** @returns {Promise<boolean>} Whether they came, and are still those that are next. */
  async #showOlder() {
    const before = this.#next;
    if (before === null || this.#state === 'off') return false;
    const page = await this.#attempt(() => this.#connection.older(before));
    // Connected again meanwhile: another page may be next.
    if (!page || this.#next !== before) return false;
    this.#showPage(page, before);
    return true;
  }

  /**
   * @param {Page} page
   * @param {number} below It holds all that there is below this, down to its last.
   */
  #showPage({ items, next }, below) {
    const wanted = new Set(items.map(({ id }) => id));
    const oldest = next === null ? 0 : (items.at(-1)?.id ?? 0);
    this.#remove((id) => id < below && id >= oldest && !wanted.has(id));
    for (const item of items) this.#show(item);
    this.#next = next;
    this.#showRest();
  }

  /** @param {(id: number) => boolean} isGone */
  #remove(isGone) {
    for (const [id, { row }] of this.#shown) {
      if (!isGone(id)) continue;
      row.remove();
      this.#shown.delete(id);
    }
  }

  /** @param {Item} item New, or changed. */
  #update(item) {
    const isKnown = this.#shown.has(item.id);
    // Of those that were not asked for yet: it would stand alone, far from its place.
    if (!isKnown && this.#next !== null && item.id < this.#next) return;
    this.#show(item);
    if (!isKnown) this.#arrivals.add(item);
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
      // Until its size is known it would not take the focus.
      if (again?.localName === 'blockquote') again.tabIndex = 0;
      again?.focus();
    } else {
      const below = Array.from(this.#list.children).find((other) => Number(/** @type {HTMLElement} */ (other).dataset.id) < item.id);
      this.#list.insertBefore(row, below ?? null);
      row.classList.toggle('is-new', this.#state === 'live');
    }
    this.#shown.set(item.id, { row, item });
    this.#showRest();
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
