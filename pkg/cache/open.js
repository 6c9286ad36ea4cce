/**
 * Opens models by address through the cache. Loaded only when one is asked for.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { fetchBytes, lengthOf, openResponse } from '../engine/byte-source.js';
import { CachedModel } from './cached-model.js';
import { request, validatorOf } from './ranged.js';
import { Store, sha256 } from './store.js';

/** @typedef {import('./store.js').ModelRecord} ModelRecord */
/** @typedef {import('../engine/byte-source.js').ByteSource} ByteSource */
/** @typedef {import('../engine/progress.js').ProgressReporter} ProgressReporter */

export { CachedModel };

/**
 * A pack's manifest: the server's, for it says which version there is; where no server can be
 * reached, that of the version that is kept.
 *
 * @param {string} url
 * @param {number} limit Most bytes.
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {IntentError}
 */
export async function openManifest(url, limit) {
  try {
    // Asked about each time, so that the browser's own cache does not hold an old version fast.
    return await fetchBytes(url, limit, { cache: 'no-cache' });
  } catch (error) {
    const kept = isUnreachable(error) ? await keptOf(url) : null;
    const manifest = kept ? await (await Store.open(kept.id)).manifest() : null;
    if (!manifest) throw error;
    return /** @type {Uint8Array<ArrayBuffer>} */ (manifest);
  }
}

/**
 * A single file. Versions are told apart by what the server says of them; of one that says nothing,
 * nothing is kept.
 *
 * @param {string} url
 * @param {ProgressReporter} progress
 * @returns {Promise<ByteSource>}
 * @throws {IntentError}
 */
export async function openFile(url, progress) {
  const record = await recordOf(url);
  /** @type {Response | null} */
  let response = null;
  try {
    // Where something is kept, its version is asked for and not the whole file.
    response = await (record ? request(url, 0, 0) : request(url, 0));
  } catch (error) {
    if (!record?.complete || !isUnreachable(error)) throw error;
    return sourceOf(record, null, progress);
  }
  const validator = validatorOf(response);
  if (record && validator === record.validator) {
    if (response.status === 206) response = await dropped(response);
    return sourceOf(record, response, progress);
  }
  if (response.status === 206) {
    await dropped(response);
    response = await request(url, 0);
  }
  const { total, exact } = lengthOf(response);
  if (total === null || validator === null || validator !== validatorOf(response)) {
    progress.cacheIs('memory', 'the server does not say which version of the file it sends, or how long it is');
    return openResponse(response, url);
  }
  const id = await identify(url, validator, total);
  if (id === null) {
    progress.cacheIs('memory', 'there is no cache in an insecure context');
    return openResponse(response, url);
  }
  const announced = exact ? {} : { announced: true };
  return sourceOf({ kind: 'gguf', id, url, validator, files: [total], ...announced }, response, progress);
}

/**
 * @param {Omit<ModelRecord, 'complete' | 'savedAt'>} wanted
 * @param {Response | null} response With the whole file.
 * @param {ProgressReporter} progress
 * @returns {ByteSource}
 */
function sourceOf(wanted, response, progress) {
  async function* chunks() {
    // Not before it is this file's turn: two that wait for each other would wait forever.
    const model = await CachedModel.open(wanted, progress);
    try {
      yield* model.chunks(0, wanted.url, response);
      await model.commit();
    } finally {
      model.close();
    }
  }
  return {
    name: wanted.url,
    total: wanted.files[0],
    exact: !wanted.announced,
    chunks: chunks(),
    cancel: () => void response?.body?.cancel().catch(() => {}),
  };
}

/**
 * @param {string} url
 * @returns {Promise<ModelRecord | null>} Of what is kept of it, complete if there is such.
 */
async function recordOf(url) {
  const records = await Store.records().catch(() => []);
  const known = records.filter((record) => record.url === url);
  return known.find((record) => record.complete) ?? known[0] ?? null;
}

/**
 * @param {string} url
 * @returns {Promise<ModelRecord | null>} Of the complete model from there.
 */
export async function keptOf(url) {
  const record = await recordOf(url);
  return record?.complete ? record : null;
}

/** Whether no server answered, or only one that is out of order. @param {unknown} error */
export function isUnreachable(error) {
  return error instanceof IntentError && error.code === 'network' && !/: HTTP 4\d\d/.test(error.message);
}

/** @param {Response} response */
async function dropped(response) {
  await response.body?.cancel();
  return null;
}

/**
 * @param {string} url
 * @param {string} validator
 * @param {number} total
 * @returns {Promise<string | null>}
 */
async function identify(url, validator, total) {
  if (!globalThis.crypto?.subtle) return null;
  return sha256(new TextEncoder().encode(JSON.stringify([url, validator, total])));
}
