/**
 * From sources to a classifier, on the CPU or on a GPU.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { applyAdapter, openAdapter } from './adapter-source.js';
import { UNPROVEN, chooseGpu, gpuLoaders, isFaultOfGpu, isProven, openGpu, reasonOf, release, warmUp } from './gpu.js';
import { openModel } from './model-source.js';
import { ProgressReporter, sumOf } from './progress.js';
import { judged, startWasm } from './wasm.js';

/** @typedef {import('../api.js').GpuInfo} GpuInfo */
/** @typedef {import('../api.js').LoadProgress} LoadProgress */
/** @typedef {import('./chunk-feed.js').ChunkFeed} ChunkFeed */
/** @typedef {import('./wasm-module.d.ts').Classifier} Classifier */
/** @typedef {import('./wasm-module.d.ts').GpuClassifier} GpuClassifier */
/** @typedef {import('../protocol.js').Calls['load']['params']} LoadParams */
/** @typedef {import('../protocol.js').UnfitBuild} UnfitBuild */
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
 * @property {GpuInfo} info
 * @property {import('./wasm-module.d.ts').Gpu} device
 * @property {GpuClassifier} classifier The same as beside it.
 */

/**
 * Loads where it was asked for; on the CPU where that can't be done. Where a GPU was tried in vain the page starts anew, as
 * after any build that is not fit: memory of a build never gets smaller.
 *
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds One a stage.
 * @param {ThreadStarter} threads
 * @param {(progress: LoadProgress) => void} onProgress
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
export async function load(params, feeds, threads, onProgress) {
  const onCpu = (/** @type {string | null} */ why) => loadOnCpu(params, feeds, threads, onProgress, why);
  const refused = params.unfit.find(({ build }) => build === 'webgpu');
  if (refused) return onCpu(refused.why);
  const { info, reason } = await chooseGpu(params.backend, params.stages);
  if (info === null) return onCpu(reason);
  // Builds for the CPU are found unfit after a GPU was.
  if (params.unfit.length > 0) return onCpu('there was none at first');
  try {
    return await loadOnGpu(params, feeds, onProgress, info);
  } catch (error) {
    if (!isFaultOfGpu(error)) throw error;
    const unfit = { build: 'webgpu', isCramped: false };
    throw Object.assign(new IntentError('unavailable', reasonOf(error), { cause: error }), { unfit });
  }
}

/**
 * Loads what ran on a GPU that failed: on a GPU again the first time, otherwise on the CPU, which is soonest there for what is
 * left where not all of it can be had again.
 *
 * @param {LoadParams} params
 * @param {{ info: GpuInfo, fault: string, missing: string | null }} failed `missing` says what can't be had again.
 * @param {ThreadStarter} threads
 * @param {(loaded: Loaded) => Promise<void>} prepare Puts in force what was set since.
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
export async function loadAgain(params, { info: before, fault, missing }, threads, prepare) {
  const silently = () => {};
  let why = missing ?? `the GPU was lost twice: ${fault}`;
  if (missing === null && before.losses === 0) {
    const { info, reason } = await chooseGpu(params.backend, params.stages);
    why = `the GPU was lost (${fault}), and then: ${reason}`;
    try {
      if (info) return await prepared(await loadOnGpu(params, [], silently, { ...info, losses: 1 }), prepare);
    } catch (error) {
      why = `the GPU was lost (${fault}), and then: ${reasonOf(error)}`;
    }
  }
  /** @type {UnfitBuild[]} */
  const unfit = [...params.unfit];
  for (;;) {
    try {
      return await prepared(await loadOnCpu({ ...params, unfit }, [], threads, silently, why), prepare);
    } catch (error) {
      const found = /** @type {{ unfit?: Omit<UnfitBuild, 'why'> }} */ (error ?? {}).unfit;
      if (!found) throw error;
      unfit.push({ ...found, why: reasonOf(error) });
    }
  }
}

/**
 * @param {Loaded} loaded
 * @param {(loaded: Loaded) => Promise<void>} prepare
 */
async function prepared(loaded, prepare) {
  try {
    await prepare(loaded);
    return loaded;
  } catch (error) {
    if (loaded.gpu) release(loaded.gpu.device, [loaded.gpu.classifier]);
    throw error;
  }
}

/**
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {ThreadStarter} threads
 * @param {(progress: LoadProgress) => void} onProgress
 * @param {string | null} noGpu Why no GPU computes, where one might.
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
async function loadOnCpu(params, feeds, threads, onProgress, noGpu) {
  const progress = new ProgressReporter(onProgress);
  const start = async () => {
    // A GPU is not judged as builds for the CPU are.
    const unfit = params.unfit.filter(({ build }) => build !== 'webgpu');
    const wasm = await progress.step('wasm', () => startWasm({ threads: params.threads, unfit }, threads));
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
  const reasons = [noGpu === null ? null : `no WebGPU: ${noGpu}`, reason].filter((part) => part !== null);
  return { exports, memory, classifier, gpu: null, reason: reasons.join('; ') || null };
}

/**
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {(progress: LoadProgress) => void} onProgress
 * @param {GpuInfo} info
 * @returns {Promise<Loaded>}
 * @throws {IntentError}
 */
async function loadOnGpu(params, feeds, onProgress, info) {
  const progress = new ProgressReporter(onProgress);
  // Before anything is asked for: where it does not start, the CPU asks.
  const gpu = await openGpu(progress);
  const { exports, memory, device } = gpu;
  /** @type {Classifier[]} */
  const built = [];
  /** @type {Started} */
  const engine = {
    exports,
    loaders: gpuLoaders(gpu),
    // Whatever it does wrong, the CPU comes next.
    judge: (work) => work(),
    check: (stage) => warmUp(/** @type {GpuClassifier} */ (stage)),
  };
  try {
    const { classifier } = await fill(params, feeds, progress, async () => engine);
    built.push(classifier);
    const fault = device.fault();
    if (fault !== undefined) throw new Error(fault);
    const onGpu = { info, device, classifier: /** @type {GpuClassifier} */ (classifier) };
    const reason = params.stages.every(isProven) ? null : `WebGPU runs, but ${UNPROVEN}`;
    return { exports, memory, classifier, gpu: onGpu, reason };
  } catch (error) {
    progress.silence();
    release(device, built);
    throw error;
  }
}

/**
 * What is started to hold models.
 *
 * @typedef {object} Started
 * @property {import('./wasm-module.d.ts').WasmModule} exports
 * @property {import('./model-source.js').Loaders} loaders
 * @property {(work: () => Promise<Classifier>) => Promise<Classifier>} judge Says of an error whose it is.
 * @property {(stage: Classifier) => Promise<void>} [check] Whether a stage can answer.
 */

/**
 * Starts an engine, fills it with the bytes of all stages, and builds the models.
 *
 * @template {Started} T
 * @param {LoadParams} params
 * @param {ChunkFeed[]} feeds
 * @param {ProgressReporter} progress
 * @param {() => Promise<T>} start
 * @returns {Promise<{ started: T, classifier: Classifier }>}
 */
async function fill({ stages, cache }, feeds, progress, start) {
  const caching = cache ? { progress } : null;
  // The first bytes are on their way while the module compiles.
  const opening = stages.map(({ source, config }, index) => openModel(source, feeds[index], config, caching));
  try {
    const [started, ...opened] = await Promise.all([start(), ...opening]);
    const models = opened.map((model) => model.start(started.loaders));
    return { started, classifier: await receive(stages, models, started, progress, caching) };
  } catch (error) {
    // Whoever comes next asks for them again.
    for (const model of opening) model.then(({ cancel }) => cancel(), () => {});
    throw error;
  }
}

/**
 * @param {import('../protocol.js').StageSource[]} stages
 * @param {import('./model-source.js').StartedModel[]} models
 * @param {Started} engine
 * @param {ProgressReporter} progress
 * @param {import('./model-source.js').Caching | null} caching
 * @returns {Promise<Classifier>}
 */
async function receive(stages, models, { exports, judge, check }, progress, caching) {
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
    try {
      for (const [index, model] of models.entries()) {
        const classifier = await model.finish();
        ready.push(classifier);
        const adapter = files[index];
        if (adapter) await applyAdapter(classifier, adapter, list, { force: false });
        await check?.(classifier);
      }
    } catch (error) {
      for (const classifier of ready) classifier.free();
      throw error;
    }
    return ready.reduce((cascade, later) => cascade.followed_by(later));
  };
  return judge(async () => {
    for (const model of models) await model.receive(progress);
    progress.end();
    return progress.step('prepare', build);
  });
}
