/**
 * The instrumented modules, started by the package's own scripts: `/instrumented/` is the package with them in place of
 * its own.
 *
 * @module
 */

import { startWasm } from '/instrumented/engine/wasm.js';

/** @typedef {import('./module-messages.js').FromModule} FromModule */
/** @typedef {import('./module-messages.js').ToModule} ToModule */
/** @typedef {import('./instrumented.d.ts').Instrumented} Instrumented */
/** @typedef {import('./instrumented.d.ts').Prefill} Prefill */
/** @typedef {import('/pkg/engine/wasm-module.d.ts').Classifier} Classifier */

/** @type {{ exports: Instrumented, prefill: Prefill | null, classifier: Classifier | null } | null} */
let loaded = null;

/**
 * @param {string} url
 * @returns {Promise<Response>}
 */
async function fetchOk(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response;
}

/**
 * @param {string} url
 * @param {(chunk: Uint8Array) => void} take
 */
async function stream(url, take) {
  const { body } = await fetchOk(url);
  if (!body) throw new Error(`${url}: nothing came`);
  const reader = body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) take(piece.value);
}

/**
 * @param {Instrumented} exports
 * @param {string} url
 */
async function loadFile(exports, url) {
  const loader = new exports.PrefillLoader(url);
  await stream(url, (chunk) => loader.push(chunk));
  return { prefill: loader.finish(), classifier: null };
}

/**
 * Twice: the engine by itself, and as the package has it.
 *
 * @param {Instrumented} exports
 * @param {string} url
 */
async function loadPack(exports, url) {
  const manifest = new Uint8Array(await (await fetchOk(url)).arrayBuffer());
  const { config } = JSON.parse(new TextDecoder().decode(manifest));
  const [pack, plain] = [new exports.PackLoader(manifest), new exports.PrefillLoader(url, JSON.stringify(config))];
  for (const [index, { path }] of pack.files().entries()) {
    await stream(new URL(path, new URL(url, location.href)).href, (chunk) => (pack.push(index, chunk), plain.push(chunk)));
  }
  return { prefill: plain.finish(), classifier: pack.finish() };
}

/**
 * Inside of this Worker: the whole page goes when it is done.
 *
 * @param {import('/pkg/protocol.js').ThreadStart} start
 */
function startThread(start) {
  new Worker('/instrumented/engine/thread.js', { type: 'module' }).postMessage(start);
}

/**
 * @param {import('./large.js').ModuleModel | null} model
 * @param {number} threads
 * @returns {Promise<FromModule>}
 */
async function load(model, threads) {
  const wasm = await startWasm({ threads, unfit: [] }, { start: startThread, failed: 0 });
  const exports = /** @type {Instrumented} */ (/** @type {unknown} */ (wasm.exports));
  const none = { prefill: null, classifier: null };
  loaded = { exports, ...(model === null ? none : await (model.kind === 'gguf' ? loadFile : loadPack)(exports, model.url)) };
  return { type: 'loaded', about: { build: wasm.build, threads: exports.threads(), kernel: exports.kernel_name() } };
}

/**
 * @param {ToModule} message
 * @returns {Promise<FromModule>}
 */
async function answer(message) {
  if (message.type === 'load') return load(message.model, message.threads);
  if (!loaded) throw new Error('nothing is loaded');
  const { exports, prefill, classifier } = loaded;
  if (message.type === 'rates') {
    const { format, rows, cols, tokens } = message;
    const [product, alone, peak] = exports.kernel_rates(format, rows, cols, tokens);
    return { type: 'rates', rates: { kernel: exports.kernel_name(), product, alone, peak } };
  }
  if (message.type === 'prefill') {
    if (!prefill) throw new Error('no model is loaded');
    const tokens = Uint32Array.from(message.tokens);
    const start = performance.now();
    prefill.run(tokens);
    return { type: 'took', ms: performance.now() - start, counts: {} };
  }
  if (!classifier) throw new Error('no pack is loaded');
  const start = performance.now();
  const parts = exports.profiled(classifier, message.text);
  const ms = performance.now() - start;
  return { type: 'took', ms, counts: Object.fromEntries(exports.part_names().map((name, index) => [name, parts[index]])) };
}

addEventListener('message', async (/** @type {MessageEvent<ToModule>} */ { data }) => {
  /** @type {FromModule} */
  let told;
  try {
    told = await answer(data);
  } catch (error) {
    told = { type: 'error', message: String(error) };
  }
  postMessage(told);
});
