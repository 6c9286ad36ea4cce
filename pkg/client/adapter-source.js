/**
 * Turns an adapter as callers give it into something the Worker can read.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { absoluteUrl, isTagged } from './pack-source.js';

/**
 * @param {unknown} adapter Address of a folder, or an object of files by name.
 * @param {string} name The argument's, for errors.
 * @returns {import('../protocol.js').AdapterSource}
 * @throws {IntentError} `invalid_argument`
 */
export function openAdapter(adapter, name) {
  if (typeof adapter === 'string' || isTagged(adapter, 'URL')) {
    const url = absoluteUrl(String(adapter), name);
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    return { kind: 'folder', url: url.href };
  }
  if (!isTagged(adapter, 'Object')) {
    throw new IntentError('invalid_argument', `${name}: expected the URL of a folder, or an object of files by name`);
  }
  const files = Object.entries(/** @type {Record<string, unknown>} */ (adapter));
  return { kind: 'files', files: Object.fromEntries(files.map(([file, bytes]) => [file, blobOf(bytes, `${name}: ${file}`)])) };
}

/**
 * Blobs go to the Worker without a copy, and a part of a buffer goes without the rest.
 *
 * @param {unknown} bytes
 * @param {string} name
 * @returns {Blob}
 */
function blobOf(bytes, name) {
  if (isTagged(bytes, 'Blob') || isTagged(bytes, 'File')) return /** @type {Blob} */ (bytes);
  if (isTagged(bytes, 'ArrayBuffer') || isTagged(bytes, 'Uint8Array')) {
    return new Blob([/** @type {ArrayBuffer | Uint8Array<ArrayBuffer>} */ (bytes)]);
  }
  throw new IntentError('invalid_argument', `${name}: expected a File or Blob, an ArrayBuffer or a Uint8Array`);
}
