/**
 * WebGPU: whether to use it, and a device with its shaders.
 *
 * @module
 */

import { nextTurn } from './turns.js';
import { startGpuWasm } from './wasm.js';

/** @typedef {import('../api.js').GpuInfo} GpuInfo */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').GpuModule} GpuModule */

/** What the browser says of an adapter: as much of it as is used. @typedef {{ vendor?: string, architecture?: string, description?: string, isFallbackAdapter?: boolean }} AdapterInfo */
/** @typedef {{ info?: AdapterInfo, isFallbackAdapter?: boolean }} Adapter */

/**
 * A device that is ready.
 *
 * @typedef {object} OpenedGpu
 * @property {GpuModule} exports
 * @property {WebAssembly.Memory} memory
 * @property {import('./wasm-module.d.ts').Gpu} device
 */

/** What a GPU has against it whose answers nothing checks. */
export const UNPROVEN = 'nothing checks its answers: a pack brings golden answers, and an adapter with intent.json; a model file has none';

/**
 * @param {import('../protocol.js').StageSource} stage
 * @returns {boolean} Whether it brings golden answers: without, an adapter is not loaded.
 */
export function isProven({ source, adapter }) {
  return source.kind === 'pack' || adapter !== undefined;
}

/**
 * Whether a GPU is to compute, and which.
 *
 * @param {import('../api.js').Backend} backend
 * @param {import('../protocol.js').StageSource[]} stages
 * @returns {Promise<{ info: GpuInfo, reason: null } | { info: null, reason: string | null }>} `reason` says why not, where
 *   that is worth saying.
 */
export async function chooseGpu(backend, stages) {
  const no = (/** @type {string | null} */ reason) => ({ info: null, reason });
  if (backend === 'cpu') return no(null);
  if (backend === 'auto') {
    const { source } = stages[stages.length - 1];
    if (!stages.every(isProven)) return no(`no WebGPU: ${UNPROVEN}`);
    if (source.kind === 'pack' && Object.keys(source.files).length > 0) return no('no WebGPU: the package’s own model is small enough for the CPU');
  }
  try {
    const adapter = await requestAdapter();
    if (adapter === null) return no('no WebGPU: the browser has no adapter');
    if (adapter.software && backend === 'auto') return no('no WebGPU: its adapter is in software');
    return { info: adapter, reason: null };
  } catch (error) {
    return no(`no WebGPU: ${reasonOf(error)}`);
  }
}

/** @returns {Promise<GpuInfo | null>} */
async function requestAdapter() {
  /** @type {{ requestAdapter(options: object): Promise<Adapter | null> } | undefined} */
  const gpu = /** @type {any} */ (globalThis.navigator)?.gpu;
  if (!gpu) throw new Error('this browser has none in Workers');
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return null;
  const { vendor = '', architecture = '', description = '', isFallbackAdapter } = adapter.info ?? {};
  return { vendor, architecture, description, software: (isFallbackAdapter ?? adapter.isFallbackAdapter) === true, losses: 0 };
}

/**
 * @param {ProgressReporter} progress
 * @returns {Promise<OpenedGpu>}
 * @throws {IntentError}
 */
export async function openGpu(progress) {
  const { exports, memory } = await progress.step('wasm', startGpuWasm);
  const device = await exports.Gpu.open();
  await progress.steps('gpu', exports.Gpu.shaders(), async (index) => {
    device.compile(index);
    await nextTurn();
  });
  return { exports, memory, device };
}

/**
 * @param {OpenedGpu} gpu
 * @returns {import('./model-source.js').Loaders}
 */
export function gpuLoaders({ exports, device }) {
  return {
    file: (name, total, config) => device.model_loader(name, total, config),
    pack: (manifest) => device.pack_loader(manifest),
    finishFile: async (loader) => loader.finish(),
    finishPack: (loader) => exports.Gpu.finish(loader),
  };
}

/**
 * @param {unknown} error
 * @returns {string} What it says, for people: its code is told apart from others by nobody here.
 */
export function reasonOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Codes of errors that are the sources' own: the CPU would meet them too. */
const NOT_THE_GPU = new Set([
  'invalid_argument', 'invalid_config', 'invalid_gguf', 'invalid_pack', 'invalid_tensor', 'unsupported_model', 'truncated', 'tokenizer',
  'checksum', 'network', 'io', 'aborted', 'no_simd', 'wrong_base',
]);

/**
 * @param {unknown} error
 * @returns {boolean} Whether the CPU may do better.
 */
export function isFaultOfGpu(error) {
  const code = /** @type {{ code?: unknown } | null} */ (error)?.code;
  return typeof code !== 'string' || !NOT_THE_GPU.has(code);
}

/**
 * @param {import('../api.js').ClassifyResult} result
 * @returns {boolean} Whether a stage could say nothing because the GPU is gone.
 */
export function lostGpu({ decision, stages = [] }) {
  return [{ decision }, ...stages].some((stage) => stage.decision.reason === 'error:device_lost');
}
