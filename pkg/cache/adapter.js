/**
 * Opens adapters by address through the cache. Loaded only when one is asked for.
 *
 * An adapter's `intent.json` has the digests of the other files. It is asked for each time, and what it promises is what is
 * kept; an adapter that promises nothing is not kept, for nobody could say which files belong together.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { readFile } from '../engine/adapter-source.js';
import { announcedBytes, openResponse, openUrl, openUrlIfThere } from '../engine/byte-source.js';
import { HighWater } from '../engine/pack-receiver.js';
import { sumOf } from '../engine/progress.js';
import { CachedModel } from './cached-model.js';
import { isUnreachable, keptOf } from './open.js';
import { request } from './ranged.js';
import { Store, sha256 } from './store.js';

/** @typedef {import('../engine/adapter-source.js').OpenedAdapter} OpenedAdapter */
/** @typedef {import('../engine/byte-source.js').ByteSource} ByteSource */
/** @typedef {import('../engine/progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('../engine/wasm-module.d.ts').AdapterFile} AdapterFile */
/** @typedef {AdapterFile & { url: string }} Addressed */
/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/**
 * @param {string} folder Its address, which ends in a slash.
 * @param {AdapterFile[]} list The engine's, `intent.json` first.
 * @param {ProgressReporter} progress Told what the cache does.
 * @param {AbortSignal} [signal]
 * @returns {Promise<OpenedAdapter>}
 * @throws {IntentError}
 */
export async function openFolder(folder, list, progress, signal) {
  const [first, ...files] = list.map((file) => ({ ...file, url: new URL(file.name, folder).href }));
  const intent = await openIntent(folder, first, signal);
  const digests = intent && digestsOf(intent, files);
  if (!intent || !digests || !globalThis.crypto?.subtle) {
    const why = digests ? 'there is no cache in an insecure context' : 'the adapter has no intent.json with the digests of its files';
    progress.cacheIs('memory', why);
    return unkept(intent, files, await Promise.all(files.map(({ url }) => openUrl(url, signal))), signal);
  }
  const id = await sha256(intent);
  const known = (await Store.records().catch(() => [])).find((record) => record.id === id);
  if (known) return kept({ folder, id, intent, files, digests, sizes: known.files, responses: [] }, signal);
  const responses = await Promise.all(files.map(({ url }) => request(url, 0, undefined, signal)));
  const sizes = responses.map(({ headers }) => announcedBytes(headers)).filter((bytes) => bytes !== null);
  if (sizes.length === files.length) return kept({ folder, id, intent, files, digests, sizes, responses }, signal);
  progress.cacheIs('memory', 'the server does not say how long the adapter’s files are');
  return unkept(intent, files, responses.map((response, index) => openResponse(response, files[index].url)), signal);
}

/**
 * The server's, for it says which version there is; where no server can be reached, that of the version that is kept.
 *
 * @param {string} folder
 * @param {Addressed} file
 * @param {AbortSignal} [signal]
 * @returns {Promise<Bytes | null>} Nothing where the adapter has none.
 */
async function openIntent(folder, file, signal) {
  try {
    // Asked about each time, so that the browser's own cache does not hold an old version fast.
    const source = await openUrlIfThere(file.url, signal, { cache: 'no-cache' });
    return source && (await readFile(source, file, { add: () => {} }, signal));
  } catch (error) {
    const found = isUnreachable(error) ? await keptOf(folder) : null;
    const intent = found ? await (await Store.open(found.id)).manifest() : null;
    if (!intent) throw error;
    return /** @type {Bytes} */ (intent);
  }
}

/**
 * @param {Bytes} intent
 * @param {AdapterFile[]} files
 * @returns {string[] | null} SHA-256 of each of the files in hex, if it has them all. Whether the rest of it is sound is
 *   the engine's to say.
 */
function digestsOf(intent, files) {
  try {
    const promised = JSON.parse(new TextDecoder().decode(intent)).files;
    const digests = files.map(({ name }) => promised[name]);
    return digests.every((digest) => typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest)) ? digests : null;
  } catch {
    return null;
  }
}

/**
 * @param {Bytes | null} intent
 * @param {Addressed[]} files
 * @param {ByteSource[]} opened
 * @param {AbortSignal} [signal]
 * @returns {OpenedAdapter}
 */
function unkept(intent, files, opened, signal) {
  const bytes = intent?.byteLength ?? 0;
  const read = async (/** @type {ProgressReporter} */ progress) => {
    progress.add(bytes);
    const all = [intent];
    for (const [index, file] of opened.entries()) all.push(await readFile(file, files[index], progress, signal));
    return all;
  };
  return { total: sumOf([bytes, ...opened.map(({ total }) => total)]), read };
}

/**
 * @typedef {object} Promised
 * @property {string} folder
 * @property {string} id SHA-256 of `intent`.
 * @property {Bytes} intent
 * @property {Addressed[]} files
 * @property {string[]} digests Of the files.
 * @property {number[]} sizes Of the files, in bytes.
 * @property {Response[]} responses With the files, where they have been asked for.
 */

/**
 * @param {Promised} adapter
 * @param {AbortSignal} [signal]
 * @returns {OpenedAdapter}
 */
function kept(adapter, signal) {
  const { folder, id, intent, files, sizes, responses } = adapter;
  const read = async (/** @type {ProgressReporter} */ progress) => {
    const model = await CachedModel.open({ kind: 'adapter', id, url: folder, files: sizes }, progress, signal);
    try {
      progress.add(intent.byteLength);
      const all = [intent];
      for (const index of files.keys()) all.push(await readVerified(model, adapter, index, progress, signal));
      await model.commit(intent);
      return all;
    } finally {
      model.close();
      // Those that were not come to; the others are at their end, or locked by who reads them.
      for (const { body } of responses) body?.cancel().catch(() => {});
    }
  };
  return { total: sumOf([intent.byteLength, ...sizes]), read };
}

/**
 * One file. Where the cache has it damaged, it is fetched again.
 *
 * @param {CachedModel} model
 * @param {Promised} adapter
 * @param {number} index
 * @param {ProgressReporter} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<Bytes>}
 * @throws {IntentError} `checksum`
 */
async function readVerified(model, { files, digests, sizes, responses }, index, progress, signal) {
  const { url } = files[index];
  const counted = new HighWater(progress);
  /** @type {Response | null} */
  let response = responses[index] ?? null;
  for (;;) {
    const source = { name: url, total: sizes[index], exact: true, chunks: model.chunks(index, url, response) };
    const bytes = await readFile(source, files[index], counted, signal);
    // What was not read to its end is not damaged.
    if (signal?.aborted) throw new IntentError('aborted', 'the call was aborted');
    const actual = await sha256(bytes);
    if (actual === digests[index]) return bytes;
    if (!(await model.heal(index))) throw new IntentError('checksum', `${url}: SHA-256 is ${actual}, expected ${digests[index]}`);
    counted.restart();
    response = null;
  }
}
