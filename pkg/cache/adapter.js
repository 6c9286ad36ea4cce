/**
 * Opens adapters by address through the cache. Loaded only when one is asked for.
 *
 * An adapter's `intent.json` has the digests of the other files. It is asked for each time, and what it promises is what is
 * kept; an adapter that promises nothing is not kept, for nobody could say which files belong together.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { readAll, readFile } from '../engine/adapter-source.js';
import { openAll, openUrl, openUrlIfThere } from '../engine/byte-source.js';
import { HighWater } from '../engine/pack-receiver.js';
import { sumOf } from '../engine/progress.js';
import { CachedModel } from './cached-model.js';
import { isUnreachable, keptOf } from './open.js';
import { askLength, readRange } from './ranged.js';
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
    return unkept(intent, files, await openAll(files.map(({ url }) => openUrl(url, signal))), signal);
  }
  const id = await sha256(intent);
  const known = (await Store.records().catch(() => [])).find((record) => record.id === id && record.complete);
  // Of what is not complete the lengths are only those that a server once announced.
  const lengths = known
    ? known.files.map((total) => ({ total, exact: true }))
    : await Promise.all(files.map(({ url }) => askLength(url, signal)));
  return kept({ folder, id, intent, files, digests, lengths }, signal);
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
    return [intent, ...(await readAll(opened, files, progress, signal))];
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
 * @property {{ total: number | null, exact: boolean }[]} lengths Of the files, as of a `ByteSource`.
 */

/**
 * @param {Promised} adapter
 * @param {AbortSignal} [signal]
 * @returns {OpenedAdapter}
 */
function kept(adapter, signal) {
  const { folder, id, intent, files, lengths } = adapter;
  const read = async (/** @type {ProgressReporter} */ progress) => {
    const sizes = lengths.map(({ total, exact }) => (exact && total !== null ? total : 0));
    const model = await CachedModel.open({ kind: 'adapter', id, url: folder, files: sizes }, progress, signal);
    try {
      progress.add(intent.byteLength);
      const all = [intent];
      for (const index of files.keys()) all.push(await readVerified(model, adapter, index, progress, signal));
      await model.commit(intent);
      return all;
    } finally {
      model.close();
    }
  };
  return { total: sumOf([intent.byteLength, ...lengths.map(({ total }) => total)]), read };
}

/**
 * One file. Where the cache has it damaged, it is fetched again. One whose length is not known, as where it comes compressed,
 * is read to its end, and kept when its digest says that it is sound.
 *
 * @param {CachedModel} model
 * @param {Promised} adapter
 * @param {number} index
 * @param {ProgressReporter} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<Bytes>}
 * @throws {IntentError} `checksum`
 */
async function readVerified(model, { files, digests }, index, progress, signal) {
  const { url } = files[index];
  const counted = new HighWater(progress);
  for (;;) {
    // Of another tab that has just loaded it, perhaps.
    const total = model.total(index);
    const chunks = total === null ? readRange({ url, from: 0, to: 0, total: 0, open: true, signal }) : model.chunks(index, url);
    const source = { name: url, total, exact: total !== null, chunks };
    const bytes = await readFile(source, files[index], counted, signal);
    // What was not read to its end is not damaged.
    if (signal?.aborted) throw new IntentError('aborted', 'the call was aborted');
    const actual = await sha256(bytes);
    if (actual === digests[index]) {
      if (total === null) await model.keepWhole(index, bytes);
      return bytes;
    }
    if (!(await model.heal(index))) {
      await model.discard();
      throw new IntentError('checksum', `${url}: SHA-256 is ${actual}, expected ${digests[index]}`);
    }
    counted.restart();
  }
}
