/** Messages of the inbox, newest first. They are shown as text, never as markup. */

import { button, create, element } from '../ui/dom.js';
import { percent } from '../ui/format.js';
import { intentTitle, kindTitle, reasonSentence } from '../ui/words.js';
import { InboxConnection } from './connection.js';

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

const TIME = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium' });

export class InboxView {
  #list = element('inbox', HTMLUListElement);
  #status = element('inbox-status', HTMLElement);
  #empty = element('inbox-empty', HTMLElement);
  #older = element('inbox-older', HTMLButtonElement);
  #form = element('inbox-token', HTMLFormElement);
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
  /** @type {Map<number, HTMLLIElement>} */
  #shown = new Map();

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
  #showNewest({ items, next }) {
    const wanted = new Set(items.map(({ id }) => id));
    // Those that are older than this page stay; of the others, what is not in it is gone.
    const oldest = items.at(-1)?.id ?? 0;
    for (const [id, row] of this.#shown) {
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
    if (this.#next === null) return;
    const { items, next } = await this.#connection.older(this.#next);
    for (const item of items) this.#show(item);
    this.#setNext(next);
  }

  /** @param {number | null} next */
  #setNext(next) {
    this.#next = next;
    this.#older.hidden = next === null;
  }

  /** @param {Item} item */
  #show(item) {
    const row = this.#row(item);
    const before = this.#shown.get(item.id);
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
    this.#shown.set(item.id, row);
    this.#showEmpty();
  }

  /** @param {Item} item */
  #row(item) {
    const { id, text, intent, reason, confidence, redactions, received_ms, handled_ms } = item;
    const sure = confidence === null ? '' : ` ${percent(confidence)}`;
    const time = create('time', { text: TIME.format(received_ms), attributes: { datetime: new Date(received_ms).toISOString() } });
    const head = create('p', { className: 'row small' }, create('strong', { text: intentTitle(intent) + sure }), create('span', { className: 'muted' }, `no. ${id}, `, time));
    const why = create('p', { className: 'small muted', text: reasonSentence(reason) });
    if (redactions.length > 0) why.append(` Taken out: ${redactions.map(kindTitle).join(', ')}.`);
    const handled = button(handled_ms === null ? 'Mark handled' : 'Open again', () => void this.#connection.change(id, { handled: handled_ms === null }), { className: 'quiet' });
    const row = create(
      'li',
      { className: handled_ms === null ? '' : 'handled' },
      head,
      create('blockquote', { text }),
      why,
      create('div', { className: 'row' }, this.#correction(item), handled),
    );
    row.dataset.id = String(id);
    return row;
  }

  /** What an agent says the message was. @param {Item} item */
  #correction({ id, probabilities, intent, corrected_intent }) {
    const labels = Object.keys(probabilities ?? { [intent]: 1 });
    if (corrected_intent !== null && !labels.includes(corrected_intent)) labels.push(corrected_intent);
    const select = create('select', { attributes: { 'aria-label': `Right intent of message ${id}` } });
    select.append(new Option('Right intent?', ''), ...labels.map((label) => new Option(intentTitle(label), label)));
    select.value = corrected_intent ?? '';
    select.addEventListener('change', () => void this.#connection.change(id, { corrected_intent: select.value || null }));
    return select;
  }
}
