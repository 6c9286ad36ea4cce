/** Models that the server of this page offers. */

/** @typedef {{ file: string, bytes: number }} OfferedModel */

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
    return Array.isArray(list) ? list.filter(isOffered) : [];
  } catch {
    return [];
  }
}

/** @param {OfferedModel} model */
export function modelUrl(model) {
  return new URL(`models/${encodeURIComponent(model.file)}`, document.baseURI);
}

/**
 * @param {any} entry
 * @returns {entry is OfferedModel}
 */
function isOffered(entry) {
  return typeof entry?.file === 'string' && typeof entry?.bytes === 'number';
}
