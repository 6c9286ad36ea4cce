/**
 * What is kept of models between visits: a list, and ways to make room.
 *
 *     import * as cache from 'relayops-intent/cache';
 *
 * @module
 */

import { Store } from './store.js';

/**
 * @typedef {object} CachedModelInfo
 * @property {string} id Identity: of a pack or an adapter the SHA-256 of its manifest.
 * @property {'pack' | 'adapter' | 'gguf'} kind
 * @property {string} url Where it came from: a pack's manifest, an adapter's folder, a file.
 * @property {number} bytes That are kept.
 * @property {number} totalBytes That the whole model has.
 * @property {boolean} complete Whether it can be loaded without the network.
 * @property {number} savedAt Milliseconds since 1970.
 */

/**
 * @returns {Promise<CachedModelInfo[]>} The models and adapters of which anything is kept, the latest first.
 */
export async function list() {
  const records = await Store.records();
  const models = records.map(async ({ id, kind, url, files, complete, savedAt }) => {
    const bytes = await (await Store.open(id)).size(files);
    return { id, kind, url, bytes, totalBytes: files.reduce((sum, one) => sum + one, 0), complete, savedAt };
  });
  return (await Promise.all(models)).sort((a, b) => b.savedAt - a.savedAt);
}

/**
 * Removes one model or adapter. A classifier that was loaded from it goes on.
 *
 * @param {string} model Its `id` or its `url`.
 * @returns {Promise<boolean>} Whether there was one.
 */
async function remove(model) {
  const records = await Store.records();
  const found = records.filter(({ id, url }) => id === model || url === model);
  const removed = await Promise.all(found.map(({ id }) => Store.remove(id)));
  return removed.includes(true);
}

/** Removes all models and adapters. */
export async function clear() {
  await Store.removeAll();
}

/**
 * Asks the browser not to remove models by itself when room runs out. Firefox asks the person.
 *
 * @returns {Promise<boolean>} Whether it will.
 */
export async function persist() {
  return (await globalThis.navigator?.storage?.persist?.()) ?? false;
}

export { remove as delete };
