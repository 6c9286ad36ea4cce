/**
 * From a source to a loaded model: one file, or a pack of several.
 *
 * @module
 */

import { fetchBytes, openSource, openUrl } from './byte-source.js';
import { pushFiles, receiveCached } from './pack-receiver.js';

/** @typedef {import('../protocol.js').PackFolder} PackFolder */
/** @typedef {import('../protocol.js').PackSource} PackSource */
/** @typedef {import('./byte-source.js').ByteSource} ByteSource */
/** @typedef {import('./chunk-feed.js').ChunkFeed} ChunkFeed */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm-module.d.ts').ModelLoader} ModelLoader */
/** @typedef {import('./wasm-module.d.ts').PackLoader} PackLoader */

/** Most bytes of a manifest: the engine's own limit, applied before it is there. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/** @typedef {{ progress: ProgressReporter }} Caching */
/** @typedef {Omit<import('../cache/store.js').ModelRecord, 'complete' | 'savedAt'>} Wanted */

/**
 * A model whose first bytes have been asked for.
 *
 * @typedef {object} OpenedModel
 * @property {(engine: Loaders) => StartedModel} start
 * @property {() => void} cancel Ends transfers of which nothing was read.
 */

/**
 * A model that the engine is ready to take.
 *
 * @typedef {object} StartedModel
 * @property {number | null} total Bytes to expect, `null` if not known.
 * @property {(progress: ProgressReporter) => Promise<void>} receive Hands all bytes to the engine.
 * @property {() => Promise<Classifier>} finish Builds the model from them.
 */

/**
 * What makes models of bytes, on the CPU or on a GPU.
 *
 * @typedef {object} Loaders
 * @property {(name: string, total?: number, config?: string) => ModelLoader} file
 * @property {(manifest: Uint8Array) => PackLoader} pack
 * @property {(loader: ModelLoader) => Promise<Classifier>} finishFile
 * @property {(loader: PackLoader) => Promise<Classifier>} finishPack
 */

/**
 * @param {PackSource} source
 * @param {ChunkFeed} feed
 * @param {string | undefined} config JSON; for single files.
 * @param {Caching | null} caching Nothing to leave the cache alone.
 * @returns {Promise<OpenedModel>}
 * @throws {IntentError}
 */
export async function openModel(source, feed, config, caching) {
  // The package's own files are the browser's to keep, and the service worker's. Nothing of the cache is loaded for them.
  if (caching && source.kind === 'pack' && Object.keys(source.files).length === 0) {
    const { CachedModel, openManifest } = await import('../cache/open.js');
    const manifest = await openManifest(source.manifest, MAX_MANIFEST_BYTES);
    const open = (/** @type {Wanted} */ wanted) => CachedModel.open(wanted, caching.progress);
    return { start: (engine) => startPack(source, manifest, {}, engine, open), cancel: () => {} };
  }
  if (caching && source.kind === 'url') {
    const { openFile } = await import('../cache/open.js');
    return openedFile(await openFile(source.url, caching.progress), config);
  }
  if (source.kind !== 'pack') return openedFile(await openSource(source, feed), config);
  // At once, because their addresses are known before the manifest is read.
  const early = Object.fromEntries(Object.entries(source.files).map(([path, url]) => [path, settled(openUrl(url))]));
  const cancel = () => Object.values(early).forEach((file) => void file.then((opened) => opened.cancel?.(), () => {}));
  try {
    const manifest = await fetchBytes(source.manifest, MAX_MANIFEST_BYTES);
    return { start: (engine) => startPack(source, manifest, early, engine), cancel };
  } catch (error) {
    cancel();
    throw error;
  }
}

/**
 * @param {ByteSource} file
 * @param {string | undefined} config
 * @returns {OpenedModel}
 */
function openedFile(file, config) {
  return { start: (engine) => startFile(file, config, engine), cancel: () => file.cancel?.() };
}

/**
 * @param {ByteSource} file
 * @param {string | undefined} config
 * @param {Loaders} engine
 * @returns {StartedModel}
 */
function startFile({ name, total, exact, chunks }, config, engine) {
  const loader = engine.file(name, exact && total !== null ? total : undefined, config);
  const receive = async (/** @type {ProgressReporter} */ progress) => {
    for await (const chunk of chunks) {
      loader.push(chunk);
      progress.add(chunk.byteLength);
    }
  };
  return { total, receive, finish: () => engine.finishFile(loader) };
}

/**
 * @param {PackFolder} source
 * @param {Uint8Array<ArrayBuffer>} manifest
 * @param {Record<string, Promise<ByteSource>>} early
 * @param {Loaders} engine
 * @param {(wanted: Wanted) => Promise<import('../cache/cached-model.js').CachedModel>} [openCache]
 * @returns {StartedModel}
 */
function startPack(source, manifest, early, engine, openCache) {
  let loader = engine.pack(manifest);
  const files = loader.files();
  const address = (/** @type {string} */ path) => new URL(path, source.manifest).href;
  const fresh = async (/** @type {string} */ path) => (await (early[path] ?? openUrl(address(path)))).chunks;
  const receive = async (/** @type {ProgressReporter} */ progress) => {
    if (!openCache) return pushFiles(loader, files, progress, (index) => fresh(files[index].path));
    const sizes = files.map(({ bytes }) => bytes);
    const cached = await openCache({ kind: 'pack', id: loader.identity(), url: source.manifest, files: sizes });
    const again = () => {
      loader.free();
      loader = engine.pack(manifest);
      return loader;
    };
    await receiveCached({ cached, loader, again, files, progress, address, manifest });
  };
  return { total: files.reduce((total, file) => total + file.bytes, 0), receive, finish: () => engine.finishPack(loader) };
}

/**
 * A promise that may fail before anyone waits for it.
 *
 * @template T
 * @param {Promise<T>} promise
 */
function settled(promise) {
  promise.catch(() => {});
  return promise;
}
