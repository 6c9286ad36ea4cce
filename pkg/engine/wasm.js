/**
 * Starts the WebAssembly module: the fastest build that this browser runs, and says why none faster.
 *
 * @module
 */

import { IntentError, describe } from '../errors.js';
import { BUILDS } from './builds.js';
import { fetchOk } from './byte-source.js';
import { hasRelaxedSimd, possibleThreads, sharedMemory } from './features.js';

/** @typedef {import('./builds.js').BuildName} BuildName */
/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */

/**
 * @typedef {object} Wasm
 * @property {WasmModule} exports
 * @property {WebAssembly.Memory} memory
 * @property {BuildName} build
 * @property {string | null} reason Why no faster build or more threads run; `null` where they do.
 */

/** Longest that threads may take to start, in milliseconds; the engine goes on with those that did. */
const THREADS_START_MS = 5_000;

/**
 * Makes Workers that help this one.
 *
 * @typedef {object} ThreadStarter
 * @property {(start: import('../protocol.js').ThreadStart) => void} start
 * @property {number} failed How many of them failed so far.
 */

/**
 * @param {number | 'auto'} wanted Threads.
 * @param {ThreadStarter} starter
 * @returns {Promise<Wasm>}
 * @throws {IntentError} `network`, `worker_failed`
 */
export async function startWasm(wanted, starter) {
  const relaxed = hasRelaxedSimd();
  const reasons = relaxed ? [] : ['no relaxed SIMD in this browser'];
  const possible = possibleThreads(wanted);
  let { threads } = possible;
  if (possible.reason !== null) reasons.push(possible.reason);
  const shared = threads > 1 ? sharedMemory() : null;
  if (threads > 1 && shared === null) {
    threads = 1;
    reasons.push('no threads: the browser refused shared memory');
  }
  const build = nameOf(relaxed, shared !== null);
  const [module, exports] = await Promise.all([compile(BUILDS[build].module().href), BUILDS[build].bindings()]);
  const started = await exports.default({ module_or_path: module, ...(shared && { memory: shared }) });
  const memory = shared ?? started.memory;
  if (shared !== null && isThreads(build)) {
    const missing = await startThreads(exports, { build, module, memory: shared }, threads, starter);
    if (missing > 0) reasons.push(`${missing} of ${threads} threads did not start`);
  }
  return { exports, memory, build, reason: reasons.length > 0 ? reasons.join('; ') : null };
}

/**
 * The build with WebGPU, which has neither threads nor relaxed SIMD: it leaves little to the CPU.
 *
 * @returns {Promise<{ exports: import('./wasm-module.d.ts').GpuModule, memory: WebAssembly.Memory }>}
 * @throws {IntentError} `network`, `worker_failed`
 */
export async function startGpuWasm() {
  const [module, exports] = await Promise.all([compile(BUILDS.webgpu.module().href), BUILDS.webgpu.bindings()]);
  const { memory } = await exports.default({ module_or_path: module });
  return { exports, memory };
}

/**
 * @param {boolean} relaxed
 * @param {boolean} threads
 * @returns {Exclude<BuildName, 'webgpu'>}
 */
function nameOf(relaxed, threads) {
  const kernels = relaxed ? 'relaxed-simd' : 'simd128';
  return threads ? `${kernels}-threads` : kernels;
}

/**
 * @param {BuildName} build
 * @returns {build is import('./builds.js').ThreadsBuildName}
 */
function isThreads(build) {
  return build.endsWith('-threads');
}

/**
 * @param {WasmModule} exports
 * @param {import('../protocol.js').ThreadStart} start
 * @param {number} threads This one included.
 * @param {ThreadStarter} starter
 * @returns {Promise<number>} How many did not start.
 */
async function startThreads(exports, start, threads, starter) {
  for (let count = 1; count < threads; count += 1) starter.start(start);
  const deadline = performance.now() + THREADS_START_MS;
  // Threads never answer: they are counted where they work.
  while (exports.threads() + starter.failed < threads && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return threads - exports.threads();
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
