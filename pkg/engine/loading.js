/**
 * From sources to a classifier, on the CPU or on a GPU.
 *
 * @module
 */

import { applyAdapter, openAdapter } from './adapter-source.js';
import { UNPROVEN, chooseGpu, gpuLoaders, isFaultOfGpu, isProven, openGpu, reasonOf } from './gpu.js';
import { openModel } from './model-source.js';
import { ProgressReporter, sumOf } from './progress.js';
import { judged, startWasm } from './wasm.js';

/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./chunk-feed.js').ChunkFeed} ChunkFeed */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm-module.d.ts').GpuClassifier} GpuClassifier */
/** @typedef {import('../protocol.js').Calls['load']['params']} LoadParams */
/** @typedef {import('./wasm.js').ThreadStarter} ThreadStarter */

/**
 * A model that is ready to answer.
 *
 * @typedef {object} Loaded
 * @property {import('./wasm-module.d.ts').WasmModule} exports
 * @property {WebAssembly.Memory} memory
 * @property {Classifier} classifier
 * @property {OnGpu | null} gpu
 * @property {string | null} reason Why nothing faster runs.
 */

/**
 * @typedef {object} OnGpu
 * @property {import('../api.js').GpuInfo} info
 * @property {import('./wasm-module.d.ts').Gpu} device
 * @property {GpuClassifier} classifier The same as beside it.
 */

/** Asked of a model that brings no golden answers, so that faults show while it is loaded. */
const WARM_UP = 'my internet is down';

/**
 * Loads where it was asked for; on the CPU where that can't be done.
 *
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds One a stage.
 * @param {ThreadStarter} threads
 * @param {(progress: LoadProgress) => void} onProgress
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
export async function load(params, feeds, threads, onProgress) {
  const { info, reason } = await chooseGpu(params.backend, params.stages);
  if (info === null) return loadOnCpu(params, feeds, threads, onProgress, reason);
  // Builds for the CPU are found unfit after a GPU was.
  if (params.unfit.length > 0) return loadOnCpu(params, feeds, threads, onProgress, 'no WebGPU: it was tried before, and could not be used');
  try {
    return await loadOnGpu(params, feeds, onProgress, info);
  } catch (error) {
    if (!isFaultOfGpu(error)) throw error;
    for (const feed of feeds) feed.restart();
    return loadOnCpu(params, feeds, threads, onProgress, `no WebGPU: ${reasonOf(error)}`);
  }
}

/**
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {ThreadStarter} threads
 * @param {(progress: LoadProgress) => void} onProgress
 * @param {string | null} why The CPU.
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
export async function loadOnCpu(params, feeds, threads, onProgress, why) {
  const progress = new ProgressReporter(onProgress);
  const start = async () => {
    const wasm = await progress.step('wasm', () => startWasm(params, threads));
    const { exports } = wasm;
    /** @type {import('./model-source.js').Loaders} */
    const loaders = {
      file: (name, total, config) => new exports.ModelLoader(name, total, config),
      pack: (manifest) => new exports.PackLoader(manifest),
      finishFile: async (loader) => loader.finish(),
      finishPack: async (loader) => loader.finish(),
    };
    return { wasm, exports, loaders, judge: (/** @type {() => Promise<Classifier>} */ work) => judged(wasm, work) };
  };
  const { started, classifier } = await fill(params, feeds, progress, start);
  const { exports, memory, reason } = started.wasm;
  return { exports, memory, classifier, gpu: null, reason: [why, reason].filter((part) => part !== null).join('; ') || null };
}

/**
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {(progress: LoadProgress) => void} onProgress
 * @param {import('../api.js').GpuInfo} info
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
export async function loadOnGpu(params, feeds, onProgress, info) {
  const progress = new ProgressReporter(onProgress);
  const start = async () => {
    const gpu = await openGpu(progress);
    // Whatever it does wrong, the CPU comes next.
    return { gpu, exports: gpu.exports, loaders: gpuLoaders(gpu), judge: (/** @type {() => Promise<Classifier>} */ work) => work() };
  };
  const { started, classifier } = await fill(params, feeds, progress, start);
  const { exports, memory, device } = started.gpu;
  const onGpu = { info, device, classifier: /** @type {GpuClassifier} */ (classifier) };
  const result = await answer(onGpu.classifier, WARM_UP, 'score', []);
  const failed = /^error:(.*)/.exec(result?.decision.reason ?? '');
  if (failed) throw new Error(`the first message failed with ${failed[1]}`);
  const reason = params.stages.every(isProven) ? null : `WebGPU runs, but ${UNPROVEN}`;
  return { exports, memory, classifier, gpu: onGpu, reason };
}

/**
 * Classifies in steps, waiting for the device.
 *
 * @param {GpuClassifier} classifier
 * @param {string} text
 * @param {'score' | 'score in full'} goal
 * @param {number[]} thresholds
 */
export async function answer(classifier, text, goal, thresholds) {
  let step = classifier.begin(text, goal, Float32Array.from(thresholds));
  while (step.state === 'running' || step.state === 'waiting') {
    if (step.state === 'waiting') await classifier.answered();
    step = classifier.advance();
  }
  classifier.forget();
  return step.state === 'done' ? step.result : null;
}

/**
 * Starts an engine, fills it with the bytes of all stages, and builds the models.
 *
 * @template {{
 *   exports: import('./wasm-module.d.ts').WasmModule,
 *   loaders: import('./model-source.js').Loaders,
 *   judge: (work: () => Promise<Classifier>) => Promise<Classifier>,
 * }} Started
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {ProgressReporter} progress
 * @param {() => Promise<Started>} start
 * @returns {Promise<{ started: Started, classifier: Classifier }>}
 */
async function fill({ stages, cache }, feeds, progress, start) {
  const caching = cache ? { progress } : null;
  // The first bytes are on their way while the module compiles.
  const [started, ...opened] = await Promise.all([
    start(),
    ...stages.map(({ source, config }, index) => openModel(source, feeds[index], config, caching)),
  ]);
  const { exports, loaders, judge } = started;
  const models = opened.map((model) => model.start(loaders));
  const list = exports.adapter_files();
  const adapters = await Promise.all(stages.map(({ adapter }) => adapter && openAdapter(adapter, list, caching)));
  progress.start(sumOf([...adapters, ...models].map((part) => (part ? part.total : 0))));
  /** @type {((Uint8Array | null)[] | undefined)[]} */
  const files = [];
  // Before the models, so that their transfers need not wait for the models'.
  for (const adapter of adapters) files.push(await adapter?.read(progress));
  const build = async () => {
    /** @type {Classifier[]} */
    const ready = [];
    for (const [index, model] of models.entries()) {
      const classifier = await model.finish();
      const adapter = files[index];
      if (adapter) await applyAdapter(classifier, adapter, list, { force: false });
      ready.push(classifier);
    }
    return ready.reduce((cascade, later) => cascade.followed_by(later));
  };
  const classifier = await judge(async () => {
    for (const model of models) await model.receive(progress);
    progress.end();
    return progress.step('prepare', build);
  });
  return { started, classifier };
}
