/** Models that the server of this page offers, and the adapters that train them. */

/**
 * Something that the package's cache keeps by itself.
 *
 * @typedef {object} Part
 * @property {URL} url Of a GGUF file, of a pack's folder, or of an adapter's.
 * @property {string} key What the cache knows it by.
 * @property {number} bytes
 */

/**
 * @typedef {object} OfferedModel
 * @property {string} name What people call it.
 * @property {string} about What it consists of, where its name does not say so.
 * @property {Part} pack
 * @property {Part} [adapter] That belongs to it.
 * @property {boolean} trained Whether it is known to be trained for these intents: a GGUF file alone says nothing of that.
 */

/**
 * @typedef {object} Adapter
 * @property {string} name Of its folder.
 * @property {string} base Name of the model that it was trained for. Whether that is the one at hand only the engine can
 *   tell, by its digest.
 * @property {Part} part
 */

/**
 * @typedef {object} Offer
 * @property {OfferedModel[]} models
 * @property {Adapter[]} adapters
 */

/** What is said of a model that nothing is known to have trained. */
export const UNTRAINED =
  'No adapter of this server belongs to this file. Unless it was trained for these intents itself, it goes by the prompt alone and is often wrong.';

/**
 * @returns {Promise<Offer>} Empty where nothing is offered: the page also works from a plain file host.
 */
export async function offered() {
  const list = await listed();
  const adapters = list.flatMap(adapterOf);
  return { models: list.flatMap((entry) => modelsOf(entry, adapters)), adapters };
}

/**
 * The adapter that was trained for the base of this name.
 *
 * @param {string} file Name of a GGUF file.
 * @param {Adapter[]} adapters
 * @returns {{ name: string, adapter: Adapter }[]} With what people call the two together.
 */
export function withAdapters(file, adapters) {
  const fitting = adapters.filter(({ base }) => base === stemOf(file));
  const called = spoken(stemOf(file));
  return fitting.map((adapter) => ({ name: fitting.length === 1 ? `${called} with its adapter` : `${called} with ${adapter.name}`, adapter }));
}

/** @returns {Promise<any[]>} */
async function listed() {
  try {
    const response = await fetch('models/index.json');
    if (!response.ok) return [];
    /** @type {unknown} */
    const list = await response.json();
    return Array.isArray(list) ? list.filter((entry) => typeof entry?.bytes === 'number') : [];
  } catch {
    return [];
  }
}

/**
 * @param {any} entry
 * @param {Adapter[]} adapters
 * @returns {OfferedModel[]}
 */
function modelsOf(entry, adapters) {
  if (typeof entry.file === 'string') {
    const url = at(encodeURIComponent(entry.file));
    const pack = { url, key: url.href, bytes: entry.bytes };
    const pairs = withAdapters(entry.file, adapters);
    if (pairs.length === 0) return [{ name: entry.file, about: UNTRAINED, pack, trained: false }];
    return pairs.map(({ name, adapter }) => ({ name, about: `${entry.file} and ${adapter.name}`, pack, adapter: adapter.part, trained: true }));
  }
  if (typeof entry.pack !== 'string' || typeof entry.name !== 'string') return [];
  const url = folderAt(entry.pack);
  return [{ name: entry.name, about: '', pack: { url, key: new URL('pack.json', url).href, bytes: entry.bytes }, trained: true }];
}

/**
 * @param {any} entry
 * @returns {Adapter[]}
 */
function adapterOf({ adapter: name, base, bytes }) {
  if (typeof name !== 'string' || typeof base?.name !== 'string') return [];
  const url = folderAt(name);
  return [{ name, base: base.name, part: { url, key: url.href, bytes } }];
}

/** @param {string} path */
function at(path) {
  return new URL(`models/${path}`, document.baseURI);
}

/** @param {string} name */
function folderAt(name) {
  return at(`${encodeURIComponent(name)}/`);
}

/** @param {string} file */
function stemOf(file) {
  return file.replace(/\.gguf$/, '');
}

/** @param {string} stem Of a file's name. */
function spoken(stem) {
  const qwen = /^qwen2\.5-(?:coder-)?(\d+(?:\.\d+)?)b(?![a-z\d])/i.exec(stem);
  return qwen ? `Qwen2.5 ${qwen[1]}B` : stem;
}
