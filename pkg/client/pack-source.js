/**
 * Turns the `pack` option into something the Worker can read without a second copy of the file.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { defaultPack } from './default-pack.js';
import { MAX_CHUNK_BYTES } from '../protocol.js';

/**
 * @typedef {object} OpenedPack
 * @property {import('../protocol.js').PackSource} source
 * @property {import('./worker-client.js').ReadChunk} [readChunk] Present for bytes held by the page.
 */

/**
 * @param {unknown} pack
 * @param {string} name The option's, for errors.
 * @returns {OpenedPack}
 * @throws {IntentError} `invalid_argument`
 */
export function openPack(pack, name) {
  if (pack === undefined) return { source: defaultPack() };
  if (typeof pack === 'string' || isTagged(pack, 'URL')) return { source: at(absoluteUrl(String(pack), name)) };
  // Tags instead of instanceof: a console may hand over a File from another frame.
  if (isTagged(pack, 'Blob') || isTagged(pack, 'File')) {
    const blob = /** @type {Blob & { name?: string }} */ (pack);
    return { source: { kind: 'blob', blob, name: blob.name || 'blob' } };
  }
  if (isTagged(pack, 'ArrayBuffer')) {
    return feedOf(new Uint8Array(/** @type {ArrayBuffer} */ (pack)), name);
  }
  if (isTagged(pack, 'Uint8Array')) {
    return feedOf(/** @type {Uint8Array} */ (pack), name);
  }
  throw new IntentError('invalid_argument', `${name}: expected a URL, a File or Blob, an ArrayBuffer or a Uint8Array`);
}

/**
 * A folder or a manifest is a pack; any other address is one model file.
 *
 * @param {URL} url
 * @returns {import('../protocol.js').PackSource}
 */
function at(url) {
  if (url.pathname.endsWith('/')) return { kind: 'pack', manifest: new URL('pack.json', url).href, files: {} };
  if (url.pathname.endsWith('/pack.json')) return { kind: 'pack', manifest: url.href, files: {} };
  return { kind: 'url', url: url.href };
}

/**
 * @param {unknown} value
 * @param {string} tag
 * @returns {boolean}
 */
export function isTagged(value, tag) {
  return Object.prototype.toString.call(value) === `[object ${tag}]`;
}

/**
 * Relative addresses mean the page's, not the Worker's.
 *
 * @param {string} url
 * @param {string} name The option's, for errors.
 * @returns {URL}
 */
export function absoluteUrl(url, name) {
  try {
    return new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch (error) {
    throw new IntentError('invalid_argument', `${name}: not a URL: ${url}`, { cause: error });
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {string} name The option's, for errors.
 * @returns {OpenedPack}
 */
function feedOf(bytes, name) {
  const total = bytes.byteLength;
  const readChunk = (/** @type {number} */ position) => {
    if (bytes.byteLength !== total) {
      throw new IntentError('invalid_argument', `${name}: the bytes were detached or resized while loading`);
    }
    if (position === total) return null;
    // A copy, because it is transferred to the Worker; the caller keeps the original.
    return new Uint8Array(bytes.subarray(position, position + MAX_CHUNK_BYTES));
  };
  return { source: { kind: 'feed', name: 'bytes', bytes: total }, readChunk };
}
