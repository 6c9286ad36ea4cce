/**
 * The files of an adapter, each whole: they are small beside a model.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { openAll, openBlob, openUrl, openUrlIfThere } from './byte-source.js';
import { sumOf } from './progress.js';

/** @typedef {import('../protocol.js').AdapterSource} AdapterSource */
/** @typedef {import('./byte-source.js').ByteSource} ByteSource */
/** @typedef {import('./model-source.js').Caching} Caching */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').AdapterFile} AdapterFile */

/**
 * An adapter whose first bytes have been asked for.
 *
 * @typedef {object} OpenedAdapter
 * @property {number | null} total Bytes of all files, `null` if not known.
 * @property {(progress: ProgressReporter) => Promise<(Uint8Array | null)[]>} read In the order of the engine's list;
 *   `null` for an optional one that is not there.
 */

/**
 * @param {AdapterSource} source
 * @param {AdapterFile[]} list The engine's: names and largest sizes.
 * @param {Caching | null} caching Nothing to leave the cache alone.
 * @param {AbortSignal} [signal]
 * @returns {Promise<OpenedAdapter>}
 * @throws {IntentError}
 */
export async function openAdapter(source, list, caching, signal) {
  if (caching && source.kind === 'folder') {
    const { openFolder } = await import('../cache/adapter.js');
    const { total, read } = await unlessAborted(signal, () => openFolder(source.url, list, caching.progress, signal));
    return { total, read: (progress) => unlessAborted(signal, () => read(progress)) };
  }
  const opened = await unlessAborted(signal, () => openAll(list.map((file) => openFile(source, file, list, signal))));
  const total = sumOf(opened.map((file) => (file ? file.total : 0)));
  return { total, read: (progress) => unlessAborted(signal, () => readAll(opened, list, progress, signal)) };
}

/**
 * @param {AdapterSource} source
 * @param {AdapterFile} file
 * @param {AdapterFile[]} list
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource | null>}
 */
async function openFile(source, { name, optional }, list, signal) {
  if (source.kind === 'folder') return (optional ? openUrlIfThere : openUrl)(new URL(name, source.url).href, signal);
  const names = list.map((file) => file.name);
  const unknown = Object.keys(source.files).find((file) => !names.includes(file));
  if (unknown !== undefined) throw new IntentError('invalid_argument', `adapter: ${unknown} is none of ${names.join(', ')}`);
  const blob = source.files[name];
  if (!blob && optional) return null;
  if (!blob) throw new IntentError('invalid_argument', `adapter: ${name} is missing`);
  return openBlob(blob, name);
}

/**
 * One file after the other; after a failure none is left waiting to be read.
 *
 * @param {(ByteSource | null)[]} opened
 * @param {AdapterFile[]} list
 * @param {Pick<ProgressReporter, 'add'>} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<(Uint8Array<ArrayBuffer> | null)[]>}
 */
export async function readAll(opened, list, progress, signal) {
  try {
    const files = [];
    for (const [index, file] of opened.entries()) files.push(file && (await readFile(file, list[index], progress, signal)));
    return files;
  } finally {
    for (const file of opened) file?.cancel?.();
  }
}

/**
 * @param {ByteSource} file
 * @param {AdapterFile} allowed
 * @param {Pick<ProgressReporter, 'add'>} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function readFile({ name, total, exact, chunks }, { max_bytes }, progress, signal) {
  const tooLarge = () => new IntentError('invalid_config', `${name}: is larger than ${max_bytes} bytes`);
  if (exact && total !== null && total > max_bytes) throw tooLarge();
  const pieces = [];
  let length = 0;
  for await (const chunk of chunks) {
    if (signal?.aborted) break;
    length += chunk.byteLength;
    if (length > max_bytes) throw tooLarge();
    pieces.push(chunk);
    progress.add(chunk.byteLength);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}

/**
 * Whatever an abort makes fail failed because of it.
 *
 * @template T
 * @param {AbortSignal | undefined} signal
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function unlessAborted(signal, work) {
  try {
    const value = await work();
    if (!signal?.aborted) return value;
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
  throw new IntentError('aborted', 'the call was aborted');
}

/**
 * Hands an adapter's files to the engine.
 *
 * @param {import('./wasm-module.d.ts').Classifier} classifier
 * @param {(Uint8Array | null)[]} files In the order of the engine's list.
 * @param {AdapterFile[]} list
 * @param {{ config?: string, force: boolean }} how `config` is for an adapter without the first file.
 */
export function applyAdapter(classifier, [intent, config, tensors], list, how) {
  if (!config || !tensors) throw new IntentError('invalid_argument', `adapter: ${list[config ? 2 : 1].name} is missing`);
  classifier.set_adapter(intent ? text(intent, list[0].name) : undefined, text(config, list[1].name), tensors, how.config, how.force);
}

/**
 * @param {Uint8Array} bytes
 * @param {string} name
 * @returns {string}
 */
function text(bytes, name) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new IntentError('invalid_config', `${name}: is not UTF-8`, { cause: error });
  }
}
