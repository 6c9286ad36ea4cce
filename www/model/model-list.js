/** The choice of models: what the server offers, how much of it is kept in this browser, and ways to make room. */

import * as cache from '/pkg/cache/index.js';
import { button, create, element, showError } from '../ui/dom.js';
import { bytes, percent } from '../ui/format.js';
import { UNTRAINED, offered, withAdapters } from './offered.js';

/** @typedef {import('./offered.js').Offer} Offer */
/** @typedef {import('./offered.js').OfferedModel} OfferedModel */
/** @typedef {import('./offered.js').Part} Part */
/** @typedef {Awaited<ReturnType<typeof cache.list>>[number]} KeptModel */

/**
 * A model, and the adapter beside its weights.
 *
 * @typedef {object} Stage
 * @property {URL | File} [pack] The page's own model if omitted.
 * @property {URL} [adapter]
 */

/**
 * What somebody chose.
 *
 * @typedef {object} Choice
 * @property {string} name
 * @property {Stage} [model] The page's own if omitted.
 * @property {Stage & { pack: URL }} [second] Of a cascade.
 * @property {string} [warning] What is to be known of its answers.
 */

export class ModelList {
  #onChoice;
  /** @type {OfferedModel[]} */
  #offered = [];
  /** @type {Promise<Offer>} */
  #offer = offered();

  /** @param {(choice: Choice) => void} onChoice */
  constructor(onChoice) {
    this.#onChoice = onChoice;
    void this.#start();
  }

  async #start() {
    this.#offered = (await this.#offer).models;
    await this.refresh();
  }

  /**
   * @param {File} file A GGUF file.
   * @returns {Promise<Choice>} With the adapter that belongs to it, if the server has one.
   */
  async choiceOf(file) {
    const [pair] = withAdapters(file.name, (await this.#offer).adapters);
    if (!pair) return { name: file.name, model: { pack: file }, warning: UNTRAINED };
    return { name: pair.name, model: { pack: file, adapter: pair.adapter.part.url } };
  }

  /** Shows what is kept now. */
  async refresh() {
    // Storage may be forbidden.
    const kept = await cache.list().catch(() => []);
    const rows = this.#offered.map((model) => this.#row(model, keptOf(model, kept)));
    replaceRows('offered', rows);
    const keys = this.#offered.flatMap(partsOf).map(({ key }) => key);
    const others = kept.filter(({ url }) => !keys.includes(url));
    replaceRows('kept', others.map((model) => this.#keptRow(model)));
  }

  /**
   * @param {OfferedModel} model
   * @param {KeptModel[]} kept Of it.
   */
  #row(model, kept) {
    const { name, about, pack, adapter, trained } = model;
    const stage = { pack: pack.url, adapter: adapter?.url };
    const load = button('Load ', () => this.#onChoice({ name, model: stage, warning: trained ? undefined : UNTRAINED }));
    load.append(create('span', { text: name, className: 'visually-hidden' }));
    const cascade = button('As cascade', () => this.#onChoice({ name: `Compact, then ${name}`, second: stage }), {
      attributes: { 'aria-label': `Load ${name} as cascade behind compact` },
    });
    const parts = partsOf(model);
    const total = sum(parts);
    return create(
      'li',
      { className: 'model-row' },
      create('div', {}, create('strong', { text: name, className: 'name' }), ' ', create('span', { text: about, className: 'muted small name' })),
      create('p', { className: 'small muted numbers', text: `${bytes(total)}, ${stateOf(kept, parts.length, total)}` }),
      // What is often wrong is of no help to compact.
      create('p', { className: 'actions' }, load, ...(trained ? [cascade] : []), ...(kept.length > 0 ? [this.#deleteButton(kept, name)] : [])),
    );
  }

  /** @param {KeptModel} kept */
  #keptRow(kept) {
    const name = decodeURIComponent(new URL(kept.url).pathname);
    return create(
      'li',
      { className: 'model-row' },
      create('div', {}, create('strong', { text: name, className: 'name' })),
      create('p', { className: 'small muted numbers', text: `${bytes(kept.bytes)}, ${stateOf([kept], 1, kept.totalBytes)}` }),
      create('p', { className: 'actions' }, this.#deleteButton([kept], name)),
    );
  }

  /**
   * @param {KeptModel[]} kept
   * @param {string} name
   */
  #deleteButton(kept, name) {
    const remove = async () => {
      const deleted = await Promise.allSettled(kept.map(({ id }) => cache.delete(id)));
      const refused = deleted.filter(({ status }) => status === 'rejected').length;
      await this.refresh();
      // The button that had the focus is gone.
      element('drop', HTMLElement).querySelector('input')?.focus();
      element('model-status', HTMLElement).textContent = refused === 0 ? `${name} was deleted from this browser.` : '';
      const said = refused === 0 ? null : { code: 'storage', message: `the browser refuses to delete ${refused === kept.length ? name : `a part of ${name}`}` };
      showError(element('model-error', HTMLElement), said);
    };
    return button('Delete', () => void remove(), { className: 'quiet', attributes: { 'aria-label': `Delete ${name} from this browser` } });
  }
}

/**
 * @param {OfferedModel} model
 * @returns {Part[]}
 */
function partsOf({ pack, adapter }) {
  return adapter ? [pack, adapter] : [pack];
}

/**
 * @param {OfferedModel} model
 * @param {KeptModel[]} kept
 * @returns {KeptModel[]} What is kept of the model's parts.
 */
function keptOf(model, kept) {
  return partsOf(model).flatMap(({ key }) => kept.find(({ url }) => url === key) ?? []);
}

/** @param {{ bytes: number }[]} parts */
function sum(parts) {
  return parts.reduce((total, part) => total + part.bytes, 0);
}

/**
 * @param {KeptModel[]} kept
 * @param {number} parts How many there would be.
 * @param {number} total Bytes.
 */
function stateOf(kept, parts, total) {
  if (kept.length === 0) return 'not downloaded';
  if (kept.length === parts && kept.every(({ complete }) => complete)) return 'kept in this browser';
  return `${percent(sum(kept) / Math.max(total, 1))} downloaded`;
}

/**
 * @param {'offered' | 'kept'} id
 * @param {HTMLLIElement[]} rows
 */
function replaceRows(id, rows) {
  element(`${id}-list`, HTMLElement).replaceChildren(...rows);
  element(id, HTMLElement).hidden = rows.length === 0;
}
