/**
 * WebGPU: whether to use it, and a device with its shaders.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { nextTurn } from './turns.js';
import { startGpuWasm } from './wasm.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../api.js').GpuInfo} GpuInfo */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').GpuClassifier} GpuClassifier */
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
    if (!stages.every(isProven)) return no(UNPROVEN);
    if (source.kind === 'pack' && Object.keys(source.files).length > 0) return no('the package’s own model is small enough for the CPU');
  }
  try {
    const adapter = await requestAdapter();
    if (adapter === null) return no('the browser has no adapter');
    if (adapter.software && backend === 'auto') return no('its adapter is in software');
    return { info: adapter, reason: null };
  } catch (error) {
    return no(reasonOf(error));
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
  const { exports, memory } = await progress.step('wasm', () => startGpuWasm().catch(isNotHere));
  const device = await exports.Gpu.open();
  try {
    await progress.steps('gpu', exports.Gpu.shaders(), async (index) => {
      device.compile(index);
      await nextTurn();
    });
  } catch (error) {
    release(device, []);
    throw error;
  }
  return { exports, memory, device };
}

/**
 * The build with WebGPU is one of several: where a host or a cache is without it, another one computes.
 *
 * @param {unknown} error
 * @returns {never}
 */
function isNotHere(error) {
  throw new IntentError('unavailable', `its build did not start: ${reasonOf(error)}`, { cause: error });
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
 * What a GPU has against it that nothing can be asked of any more. What it refuses once it never did: whatever was to be
 * computed then is missing from what is built on it.
 *
 * @param {import('./wasm-module.d.ts').Gpu} device
 * @param {PromiseSettledResult<ClassifyResult | null | void>} outcome Of what was asked last.
 * @returns {string | null}
 */
export function faultOf(device, outcome) {
  const codes = outcome.status === 'fulfilled' ? codesOf(outcome.value) : [String(outcome.reason?.code)];
  if (!codes.some((code) => OF_A_DEVICE.has(code))) return null;
  // A message may be too much for the model, which is `inference` too, and the same on any device.
  return device.fault() ?? codes.find((code) => code !== 'inference' && OF_A_DEVICE.has(code)) ?? null;
}

/** Codes of what becomes of a message when a device fails. */
const OF_A_DEVICE = new Set(['device_lost', 'out_of_memory', 'inference']);

/**
 * @param {ClassifyResult | null | void} result
 * @returns {string[]} Codes of the errors of its stages.
 */
function codesOf(result) {
  if (!result) return [];
  const stages = [result, ...(result.stages ?? [])];
  return stages.flatMap(({ decision: { reason } }) => (reason.startsWith('error:') ? [reason.slice('error:'.length)] : []));
}

/**
 * Asked of every model before it is ready, so that faults show while it is loaded. A pack that brings golden answers has been
 * asked then; a file without has not.
 */
const WARM_UP = 'my internet is down';

/**
 * @param {GpuClassifier} classifier One stage.
 * @throws {Error} Where it can't answer.
 */
export async function warmUp(classifier) {
  const [code] = codesOf(await answer(classifier, WARM_UP, {}));
  if (code !== undefined) throw new Error(`the first message failed with ${code}`);
}

/**
 * Classifies in steps, waiting for the device.
 *
 * @param {GpuClassifier} classifier
 * @param {string} text
 * @param {import('../protocol.js').EngineOptions} options
 * @returns {Promise<ClassifyResult | null>}
 */
export async function answer(classifier, text, { token_confidence, thresholds = [] }) {
  const goal = token_confidence ? 'score in full at once' : 'score at once';
  let step = classifier.begin(text, goal, Float32Array.from(thresholds));
  while (step.state === 'running' || step.state === 'waiting') {
    if (step.state === 'waiting') await classifier.answered();
    step = classifier.advance();
  }
  classifier.forget();
  return step.state === 'done' ? step.result : null;
}

/**
 * Gives back what is on a device and what its engine holds beside it.
 *
 * @param {import('./wasm-module.d.ts').Gpu} device
 * @param {import('./wasm-module.d.ts').Classifier[]} classifiers
 */
export function release(device, classifiers) {
  try {
    // First, because it gives back also what somebody else still holds.
    device.destroy();
    for (const classifier of classifiers) classifier.free();
    device.free();
  } catch {
    // An engine that trapped can't be asked for anything any more.
  }
}
