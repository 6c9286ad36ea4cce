/** Models that the server of this page offers. */

/**
 * @typedef {object} OfferedModel
 * @property {string} name What people call it.
 * @property {URL} url Of a GGUF file, or of a pack's folder.
 * @property {string} key What the package's cache knows it by.
 * @property {number} bytes
 */

/**
 * @returns {Promise<OfferedModel[]>} Empty where nothing is offered: the page also works from a
 *   plain file host.
 */
export async function offeredModels() {
  try {
    const response = await fetch('models/index.json');
    if (!response.ok) return [];
    /** @type {unknown} */
    const list = await response.json();
    return Array.isArray(list) ? list.flatMap(modelOf) : [];
  } catch {
    return [];
  }
}

/**
 * @param {any} entry
 * @returns {OfferedModel[]}
 */
function modelOf(entry) {
  if (typeof entry?.bytes !== 'number') return [];
  const at = (/** @type {string} */ path) => new URL(`models/${path}`, document.baseURI);
  if (typeof entry.file === 'string') {
    const url = at(encodeURIComponent(entry.file));
    return [{ name: entry.file, url, key: url.href, bytes: entry.bytes }];
  }
  if (typeof entry.pack !== 'string' || typeof entry.name !== 'string') return [];
  const url = at(`${encodeURIComponent(entry.pack)}/`);
  return [{ name: entry.name, url, key: new URL('pack.json', url).href, bytes: entry.bytes }];
}
