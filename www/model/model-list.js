/** The choice of models: what the server offers, how much of it is kept in this browser, and ways to make room. */

import * as cache from '/pkg/cache/index.js';
import { button, create, element } from '../ui/dom.js';
import { bytes, percent } from '../ui/format.js';
import { offeredModels } from './offered.js';

/** @typedef {import('./offered.js').OfferedModel} OfferedModel */
/** @typedef {Awaited<ReturnType<typeof cache.list>>[number]} KeptModel */

/**
 * What somebody chose.
 *
 * @typedef {object} Choice
 * @property {string} name
 * @property {URL | File} [pack] The page's own model if omitted.
 * @property {URL} [second] Of a cascade.
 */

export class ModelList {
  #onChoice;
  /** @type {OfferedModel[]} */
  #offered = [];

  /** @param {(choice: Choice) => void} onChoice */
  constructor(onChoice) {
    this.#onChoice = onChoice;
    void this.#start();
  }

  async #start() {
    this.#offered = await offeredModels();
    await this.refresh();
  }

  /** Shows what is kept now. */
  async refresh() {
    // Storage may be forbidden.
    const kept = await cache.list().catch(() => []);
    const rows = this.#offered.map((model) => this.#row(model, kept.find(({ url }) => url === model.key)));
    replaceRows('offered', rows);
    const others = kept.filter(({ url }) => this.#offered.every(({ key }) => key !== url));
    replaceRows('kept', others.map((model) => this.#keptRow(model)));
  }

  /**
   * @param {OfferedModel} model
   * @param {KeptModel | undefined} kept
   */
  #row(model, kept) {
    const { name, url } = model;
    const load = button('Load ', () => this.#onChoice({ name, pack: url }));
    load.append(create('span', { text: name, className: 'visually-hidden' }));
    const cascade = button('As cascade', () => this.#onChoice({ name: `Compact, then ${name}`, second: url }), {
      attributes: { 'aria-label': `Load ${name} as cascade behind compact` },
    });
    const actions = create('p', { className: 'actions' }, load, cascade, ...(kept ? [this.#deleteButton(kept, name)] : []));
    return create(
      'li',
      { className: 'model-row' },
      create('div', {}, create('strong', { text: name, className: 'name' })),
      create('p', { className: 'small muted numbers', text: `${bytes(model.bytes)}, ${stateOf(kept)}` }),
      actions,
    );
  }

  /** @param {KeptModel} kept */
  #keptRow(kept) {
    const name = decodeURIComponent(new URL(kept.url).pathname);
    return create(
      'li',
      { className: 'model-row' },
      create('div', {}, create('strong', { text: name, className: 'name' })),
      create('p', { className: 'small muted numbers', text: `${bytes(kept.bytes)}, ${stateOf(kept)}` }),
      create('p', { className: 'actions' }, this.#deleteButton(kept, name)),
    );
  }

  /**
   * @param {KeptModel} kept
   * @param {string} name
   */
  #deleteButton({ id }, name) {
    const remove = async () => {
      await cache.delete(id).catch(() => false);
      await this.refresh();
      // The button that had the focus is gone.
      element('drop', HTMLElement).querySelector('input')?.focus();
      element('model-status', HTMLElement).textContent = `${name} was deleted from this browser.`;
    };
    return button('Delete', () => void remove(), { className: 'quiet', attributes: { 'aria-label': `Delete ${name} from this browser` } });
  }
}

/** @param {KeptModel | undefined} kept */
function stateOf(kept) {
  if (!kept) return 'not downloaded';
  return kept.complete ? 'kept in this browser' : `${percent(kept.bytes / Math.max(kept.totalBytes, 1))} downloaded`;
}

/**
 * @param {'offered' | 'kept'} id
 * @param {HTMLLIElement[]} rows
 */
function replaceRows(id, rows) {
  element(`${id}-list`, HTMLElement).replaceChildren(...rows);
  element(id, HTMLElement).hidden = rows.length === 0;
}
