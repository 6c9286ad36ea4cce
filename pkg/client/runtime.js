/**
 * What this package needs of the browser, asked before anything is started.
 *
 * @module
 */

import { IntentError } from '../errors.js';

/**
 * The smallest module that needs fixed-width SIMD: one function of type () -> () with the body
 * `i32.const 0; i8x16.splat; drop`.
 */
// prettier-ignore
const SIMD_MODULE = Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
  0x01, 0x04, 0x01, 0x60, 0x00, 0x00,             // type section
  0x03, 0x02, 0x01, 0x00,                         // function section
  0x0a, 0x09, 0x01, 0x07, 0x00,                   // code section: one body without locals
  0x41, 0x00, 0xfd, 0x0f, 0x1a, 0x0b,
);

/**
 * As much of a Worker as the package uses.
 *
 * @typedef {object} WorkerLike
 * @property {(type: string, listener: (event: any) => void) => void} addEventListener
 * @property {(message: any, transfer: any[]) => void} postMessage
 * @property {() => void} terminate
 * @property {(busy: boolean) => void} [keepAlive] Told whether an answer is awaited.
 */

/** @type {(() => WorkerLike) | null} */
let provided = null;

/** @param {() => WorkerLike} create Makes Workers where the runtime has none of the browser's kind. */
export function provideWorker(create) {
  provided = create;
}

/** @returns {WorkerLike} */
export function createWorker() {
  if (provided) return provided();
  // Bundlers recognise exactly this expression.
  return new Worker(new URL('../worker.js', import.meta.url), { type: 'module' });
}

/**
 * A Worker that helps the engine's. The page makes it, and not the engine's Worker: of Workers inside of Workers, those
 * with shared memory sometimes never end in Chromium 156, and neither does the one around them.
 *
 * @returns {WorkerLike}
 */
export function createThread() {
  // Bundlers recognise exactly this expression.
  return new Worker(new URL('../engine/thread.js', import.meta.url), { type: 'module' });
}

/** @throws {IntentError} `unavailable` without Web Workers, `no_simd` without WebAssembly SIMD. */
export function requireRuntime() {
  if (!provided && typeof Worker === 'undefined') {
    throw new IntentError('unavailable', 'this runtime has no Web Worker: load() needs a browser, or Node 20');
  }
  if (typeof WebAssembly === 'undefined') {
    throw new IntentError('no_simd', 'this browser has no WebAssembly');
  }
  if (!WebAssembly.validate(SIMD_MODULE)) {
    throw new IntentError('no_simd', 'this browser has WebAssembly without SIMD, which the engine needs');
  }
}
