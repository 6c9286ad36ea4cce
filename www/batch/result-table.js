/** The table of results: sorted by a click on a heading, a page of rows at a time. */

import { button, create, element } from '../ui/dom.js';
import { percent, whole } from '../ui/format.js';
import { intentTitle, reasonTitle } from '../ui/words.js';
import { sorted } from './records.js';

/** @typedef {import('./records.js').Row} Row */
/** @typedef {import('./records.js').Field} Field */

/** Rows in the document at once, however many there are. */
export const PAGE_ROWS = 25;

/** @type {[Field, string][]} */
const COLUMNS = [
  ['number', 'Row'],
  ['text', 'Message'],
  ['intent', 'Intent'],
  ['confidence', 'Confidence'],
  ['route', 'Route'],
  ['reason', 'Reason'],
];

/** @type {Record<string, string>} */
const ROUTES = { local: 'This device', escalate: 'Escalates', '': 'Not classified' };

export class ResultTable {
  #head = element('batch-head', HTMLElement);
  #body = element('batch-rows', HTMLElement);
  #filter = element('batch-filter', HTMLSelectElement);
  #place = element('batch-place', HTMLElement);
  #before = element('batch-before', HTMLButtonElement);
  #after = element('batch-after', HTMLButtonElement);
  /** @type {Row[]} */
  #rows = [];
  /** Those that the filter lets through, in order. @type {Row[]} */
  #shown = [];
  /** @type {Field} */
  #field = 'number';
  #descending = false;
  #page = 0;

  constructor() {
    const headings = COLUMNS.map(([field, title]) => {
      const heading = create('th', { attributes: { scope: 'col' } }, button(title, () => this.#sortBy(field)));
      heading.dataset.field = field;
      return heading;
    });
    this.#head.replaceChildren(...headings);
    this.#filter.addEventListener('change', () => this.#arrange(0));
    this.#before.addEventListener('click', () => this.#turn(-1));
    this.#after.addEventListener('click', () => this.#turn(1));
  }

  /** @param {Row[]} rows */
  show(rows) {
    this.#rows = rows;
    this.#arrange(this.#page);
  }

  /** @param {Field} field */
  #sortBy(field) {
    this.#descending = this.#field === field && !this.#descending;
    this.#field = field;
    this.#arrange(0);
  }

  /** @param {number} by */
  #turn(by) {
    this.#page += by;
    this.#draw();
  }

  /** @param {number} page */
  #arrange(page) {
    const wanted = this.#filter.value;
    const rows = wanted === 'all' ? this.#rows : this.#rows.filter(({ route }) => route === (wanted === 'failed' ? '' : wanted));
    this.#shown = sorted(rows, this.#field, this.#descending);
    this.#page = page;
    this.#draw();
  }

  #draw() {
    const pages = Math.max(Math.ceil(this.#shown.length / PAGE_ROWS), 1);
    this.#page = Math.min(Math.max(this.#page, 0), pages - 1);
    const start = this.#page * PAGE_ROWS;
    const rows = this.#shown.slice(start, start + PAGE_ROWS);
    this.#body.replaceChildren(...rows.map(drawRow));
    this.#place.textContent =
      rows.length === 0 ? 'No rows' : `Rows ${whole(start + 1)} to ${whole(start + rows.length)} of ${whole(this.#shown.length)}`;
    this.#before.disabled = this.#page === 0;
    this.#after.disabled = this.#page === pages - 1;
    for (const heading of this.#head.children) {
      const mine = /** @type {HTMLElement} */ (heading).dataset.field === this.#field;
      if (mine) heading.setAttribute('aria-sort', this.#descending ? 'descending' : 'ascending');
      else heading.removeAttribute('aria-sort');
    }
  }
}

/** @param {Row} row */
function drawRow({ number, text, intent, confidence, route, reason }) {
  return create(
    'tr',
    {},
    create('td', { text: whole(number), className: 'number' }),
    create('td', { text, className: 'message' }),
    create('td', { text: intent === '' ? '' : intentTitle(intent) }),
    create('td', { text: confidence === null ? '' : percent(confidence), className: 'number' }),
    create('td', {}, create('span', { text: ROUTES[route], className: `tag ${route}` })),
    create('td', { text: reasonTitle(reason), className: 'muted' }),
  );
}
