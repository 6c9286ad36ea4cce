/**
 * Starts the WebAssembly module. The one place that knows which build is used.
 *
 * @module
 */

// Written by `cargo xtask build-web`.
import init, * as bindings from '../wasm/relayops_intent.js';
import { IntentError, describe } from '../errors.js';
import { fetchOk } from './byte-source.js';

/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */

/**
 * @typedef {object} Wasm
 * @property {WasmModule} exports
 * @property {WebAssembly.Memory} memory
 */

/**
 * @returns {Promise<Wasm>}
 * @throws {IntentError} `network`, `worker_failed`
 */
export async function startWasm() {
  // Bundlers recognise exactly this expression.
  const url = new URL('../wasm/relayops_intent_bg.wasm', import.meta.url);
  const module = await compile(url.href);
  const { memory } = await init({ module_or_path: module });
  return { exports: bindings, memory };
}

/**
 * Compiles while it streams, but does not insist on the host's MIME type.
 *
 * @param {string} url
 * @returns {Promise<WebAssembly.Module>}
 */
async function compile(url) {
  const response = await fetchOk(url);
  const type = response.headers.get('content-type');
  try {
    if (type === 'application/wasm') return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    throw new IntentError('worker_failed', `${url}: ${describe(error)}`, { cause: error });
  }
}
