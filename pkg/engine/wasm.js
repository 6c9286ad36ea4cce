/**
 * Starts the WebAssembly module: the fastest build that this browser runs right, and says why none faster.
 *
 * @module
 */

import { IntentError, describe } from '../errors.js';
import { BUILDS } from './builds.js';
import { fetchOk } from './byte-source.js';
import { hasRelaxedSimd, possibleThreads, sharedMemory } from './features.js';

/** @typedef {import('./builds.js').BuildName} BuildName */
/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */
/** @typedef {import('../protocol.js').UnfitBuild} UnfitBuild */

/** The builds, the fastest first. @type {readonly BuildName[]} */
const BY_SPEED = ['relaxed-simd-threads', 'relaxed-simd', 'simd128-threads', 'simd128'];

/** What loading ends with where the engine computes something else than it must. */
const WRONG_ANSWERS = ['golden_mismatch', 'inference'];

/**
 * @typedef {object} Wasm
 * @property {WasmModule} exports
 * @property {WebAssembly.Memory} memory
 * @property {BuildName} build
 * @property {string | null} reason Why no faster build or more threads run; `null` where they do.
 * @property {readonly UnfitBuild[]} unfit Builds that were tried before.
 * @property {boolean} isLast Whether there is no other build left to try.
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
 * @param {{ threads: number | 'auto', unfit: readonly UnfitBuild[] }} how Threads that are wanted, and builds that are not.
 * @param {ThreadStarter} starter
 * @returns {Promise<Wasm>}
 * @throws {IntentError} `network`, `worker_failed`
 */
export async function startWasm({ threads: wanted, unfit }, starter) {
  const { builds, threads, shared, reasons } = choose(wanted, unfit);
  const [build] = builds;
  const [module, exports] = await Promise.all([compile(BUILDS[build].module().href), BUILDS[build].bindings()]);
  const started = await exports.default({ module_or_path: module, ...(isThreads(build) && shared && { memory: shared }) });
  let memory = started.memory;
  if (isThreads(build) && shared) {
    memory = shared;
    const missing = await startThreads(exports, { build, module, memory }, threads, starter);
    if (missing > 0) reasons.push(`${missing} of ${threads} threads did not start`);
  }
  return { exports, memory, build, reason: reasons.length > 0 ? reasons.join('; ') : null, unfit, isLast: builds.length === 1 };
}

/**
 * Which builds run here, the fastest first, and why no others.
 *
 * @param {number | 'auto'} wanted
 * @param {readonly UnfitBuild[]} unfit
 */
function choose(wanted, unfit) {
  const reasons = unfit.map(({ build, why }) => `the build ${build} computes wrongly here: ${why}`);
  const relaxed = hasRelaxedSimd();
  if (!relaxed) reasons.push('no relaxed SIMD in this browser');
  const { threads, reason } = possibleThreads(wanted);
  if (reason !== null) reasons.push(reason);
  const shared = threads > 1 ? sharedMemory() : null;
  if (threads > 1 && shared === null) reasons.push('no threads: the browser refused shared memory');
  const isPossible = (/** @type {BuildName} */ name) => (relaxed || !name.startsWith('relaxed')) && (shared !== null || !isThreads(name));
  const builds = BY_SPEED.filter((name) => isPossible(name) && unfit.every(({ build }) => build !== name));
  return { builds, threads, shared, reasons };
}

/**
 * Builds the models, which answer their golden messages while they are built, and notes of a failure whether it is the
 * build's.
 *
 * @template T
 * @param {Wasm} wasm
 * @param {() => Promise<T>} prepare
 * @returns {Promise<T>}
 */
export async function judged({ build, unfit, isLast }, prepare) {
  try {
    return await prepare();
  } catch (error) {
    const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error ?? {});
    if (!WRONG_ANSWERS.includes(/** @type {string} */ (code))) throw error;
    // The page starts anew without this build, and with memory that nothing wrong has been written to.
    if (!isLast) throw Object.assign(/** @type {Error} */ (error), { unfit: build });
    if (unfit.length === 0) throw error;
    const before = unfit.map((one) => one.build).join(', ');
    throw new IntentError('golden_mismatch', `${message}; nor did the builds ${before}`, { cause: error });
  }
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
