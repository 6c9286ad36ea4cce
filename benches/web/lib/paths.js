/** Where the benchmark finds what it serves. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Folder of the benchmark. */
export const HERE = fileURLToPath(new URL('..', import.meta.url));

/** Files of the peers that the page loads: from node_modules to where they are served. */
export const VENDOR = [
  ['onnxruntime-web/dist/ort.wasm.min.mjs', 'onnxruntime-web/ort.wasm.min.mjs'],
  ['onnxruntime-web/dist/ort-wasm-simd-threaded.mjs', 'onnxruntime-web/ort-wasm-simd-threaded.mjs'],
  ['onnxruntime-web/dist/ort-wasm-simd-threaded.wasm', 'onnxruntime-web/ort-wasm-simd-threaded.wasm'],
  ['@huggingface/tokenizers/dist/tokenizers.min.mjs', 'tokenizers/tokenizers.min.mjs'],
];

/** Files that export_onnx.py writes and the page loads. */
export const PEER_FILES = ['fp32.onnx', 'int8.onnx', 'tokenizer.json'];

/**
 * @param {string} path
 * @returns {string} The path, which exists.
 */
export function required(path) {
  if (!existsSync(path)) throw new Error(`${path} is missing: \`cargo xtask bench-browser\` makes all that the benchmark needs`);
  return path;
}
