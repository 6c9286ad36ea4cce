/**
 * Starts the WebAssembly module: the fastest build that this browser runs right, and says why none faster.
 *
 * @module
 */

import { IntentError, describe } from '../errors.js';
import { BUILDS } from './builds.js';
import { fetchOk } from './byte-source.js';
import { hasRelaxedSimd, possibleThreads, sharedMemory } from './features.js';

/** @typedef {Exclude<import('./builds.js').BuildName, 'webgpu'>} BuildName Of those for the CPU. */
/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */
/** @typedef {import('../protocol.js').UnfitBuild} UnfitBuild */

/** What the engine says of scores that no sound build gives. */
const NOT_FINITE = 'logits are not finite';

/**
 * @typedef {object} Wasm
 * @property {WasmModule} exports
 * @property {WebAssembly.Memory} memory
 * @property {BuildName} build
 * @property {string | null} reason Why no faster build or more threads run; `null` where they do.
 * @property {readonly UnfitBuild[]} unfit Builds that were tried before.
 * @property {boolean} isCramped Whether the browser granted less memory than a build without threads may take.
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
  const started = await exports.default({ module_or_path: module, ...(shared && { memory: shared.memory }) });
  let memory = started.memory;
  if (shared && isThreads(build)) {
    memory = shared.memory;
    const missing = await startThreads(exports, { build, module, memory }, threads, starter);
    if (missing > 0) reasons.push(`${missing} of ${threads} threads did not start`);
  }
  return { exports, memory, build, reason: reasons.length > 0 ? reasons.join('; ') : null, unfit, isCramped: shared?.isCramped ?? false, isLast: builds.length === 1 };
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
 * Relaxed SIMD has about 1.7 times the rate of SIMD without it, and so have two threads beside one: two without it are as
 * fast as one with it, which takes less memory and no start of a thread; three are faster.
 *
 * @param {number} threads
 * @returns {readonly BuildName[]} The fastest first.
 */
export function bySpeed(threads) {
  if (threads === 1) return ['relaxed-simd', 'simd128'];
  if (threads === 2) return ['relaxed-simd-threads', 'relaxed-simd', 'simd128-threads', 'simd128'];
  return ['relaxed-simd-threads', 'simd128-threads', 'relaxed-simd', 'simd128'];
}

/**
 * Which builds run here, the fastest first, and why no others.
 *
 * @param {number | 'auto'} wanted
 * @param {readonly UnfitBuild[]} unfit
 * @returns {{ builds: BuildName[], threads: number, shared: ReturnType<typeof sharedMemory>, reasons: string[] }} Memory for
 *   the first of them, if that one has threads.
 */
function choose(wanted, unfit) {
  const reasons = unfit.map(({ build, isCramped, why }) => `the build ${build} ${isCramped ? 'gets too little memory' : 'computes wrongly'} here: ${why}`);
  const relaxed = hasRelaxedSimd();
  if (!relaxed) reasons.push('no relaxed SIMD in this browser');
  const { threads, reason } = possibleThreads(wanted);
  if (reason !== null) reasons.push(reason);
  const isSound = (/** @type {BuildName} */ name) => (relaxed || !name.startsWith('relaxed')) && unfit.every(({ build }) => build !== name);
  const builds = bySpeed(threads).filter(isSound);
  // Addresses are set aside for it, so only where they are used.
  const shared = isThreads(builds[0]) ? sharedMemory() : null;
  if (shared || threads === 1) return { builds, threads, shared, reasons };
  if (isThreads(builds[0])) {
    reasons.push('no threads: the browser refused shared memory');
    return { builds: builds.filter((name) => !isThreads(name)), threads, shared, reasons };
  }
  const other = builds.some(isThreads) ? 'one with relaxed SIMD is as fast as two without' : 'no build with threads is right here';
  reasons.push(`no threads: ${other}`);
  return { builds, threads, shared, reasons };
}

/**
 * Fills and builds the models, which answer their golden messages while they are built, and notes of a failure whether it
 * is the build's.
 *
 * @template T
 * @param {Pick<Wasm, 'build' | 'unfit' | 'isCramped' | 'isLast'>} wasm
 * @param {() => Promise<T>} prepare
 * @returns {Promise<T>}
 * @throws {IntentError} Of the code that the engine gave.
 */
export async function judged({ build, unfit, isCramped, isLast }, prepare) {
  try {
    return await prepare();
  } catch (error) {
    const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error ?? {});
    // A request that does not fit the model is `inference` too: no build answers that.
    const isWrong = code === 'golden_mismatch' || (code === 'inference' && String(message).includes(NOT_FINITE));
    // Builds without threads have memory of their own, which may grow larger. Not every allocation that fails has a code.
    const isTight = isCramped && (code === 'out_of_memory' || error instanceof WebAssembly.RuntimeError);
    if (!isWrong && !isTight) throw error;
    // The page starts anew without this build, and with memory that nothing wrong has been written to.
    if (!isLast) throw Object.assign(/** @type {Error} */ (error), { unfit: { build, isCramped: isTight } });
    if (unfit.length === 0 || typeof code !== 'string') throw error;
    const before = unfit.map((one) => one.build).join(', ');
    throw new IntentError(/** @type {import('../errors.js').IntentErrorCode} */ (code), `${message}; nor did the builds ${before}`, { cause: error });
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
