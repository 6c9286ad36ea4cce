/**
 * From a source to a loaded model: one file, or a pack of several.
 *
 * @module
 */

import { fetchBytes, openSource, openUrl } from './byte-source.js';

/** @typedef {import('../protocol.js').PackFolder} PackFolder */
/** @typedef {import('../protocol.js').PackSource} PackSource */
/** @typedef {import('./byte-source.js').ByteSource} ByteSource */
/** @typedef {import('./chunk-feed.js').ChunkFeed} ChunkFeed */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */

/** Most bytes of a manifest: the engine's own limit, applied before it is there. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/**
 * A model whose first bytes have been asked for.
 *
 * @typedef {object} OpenedModel
 * @property {(engine: WasmModule, progress: ProgressReporter) => Promise<Classifier>} load
 */

/**
 * @param {PackSource} source
 * @param {ChunkFeed} feed
 * @param {string | undefined} config JSON; for single files.
 * @returns {Promise<OpenedModel>}
 * @throws {IntentError}
 */
export async function openModel(source, feed, config) {
  if (source.kind !== 'pack') {
    const file = await openSource(source, feed);
    return { load: (engine, progress) => loadFile(file, config, engine, progress) };
  }
  // At once, because their addresses are known before the manifest is read.
  const early = Object.entries(source.files).map(([path, url]) => [path, settled(openUrl(url))]);
  const manifest = await fetchBytes(source.manifest, MAX_MANIFEST_BYTES);
  return { load: (engine, progress) => loadPack(source, manifest, Object.fromEntries(early), engine, progress) };
}

/**
 * @param {ByteSource} file
 * @param {string | undefined} config
 * @param {WasmModule} engine
 * @param {ProgressReporter} progress
 */
async function loadFile({ name, total, exact, chunks }, config, engine, progress) {
  progress.start(total);
  const loader = new engine.ModelLoader(name, exact && total !== null ? total : undefined, config);
  for await (const chunk of chunks) {
    loader.push(chunk);
    progress.add(chunk.byteLength);
  }
  progress.end();
  return progress.step('prepare', async () => loader.finish());
}

/**
 * @param {PackFolder} source
 * @param {Uint8Array} manifest
 * @param {Record<string, Promise<ByteSource>>} early
 * @param {WasmModule} engine
 * @param {ProgressReporter} progress
 */
async function loadPack(source, manifest, early, engine, progress) {
  const loader = new engine.PackLoader(manifest);
  const files = loader.files();
  progress.start(files.reduce((total, file) => total + file.bytes, 0));
  for (const [index, { path }] of files.entries()) {
    const { chunks } = await (early[path] ?? openUrl(new URL(path, source.manifest).href));
    for await (const chunk of chunks) {
      loader.push(index, chunk);
      progress.add(chunk.byteLength);
    }
  }
  progress.end();
  return progress.step('prepare', async () => loader.finish());
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
