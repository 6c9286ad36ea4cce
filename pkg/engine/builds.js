/**
 * The engine's builds, as `cargo xtask build-web` writes them. Bundlers recognise exactly these expressions.
 *
 * @module
 */

/** @typedef {import('./wasm-module.d.ts').WasmModule} WasmModule */
/** @typedef {import('./wasm-module.d.ts').ThreadsModule} ThreadsModule */
/** @typedef {'simd128-threads' | 'relaxed-simd-threads'} ThreadsBuildName */
/** @typedef {'simd128' | 'relaxed-simd' | ThreadsBuildName | 'webgpu'} BuildName */
/** @typedef {import('./wasm-module.d.ts').GpuModule} GpuModule */

/**
 * @template {WasmModule} [Module=WasmModule]
 * @typedef {object} Build
 * @property {() => Promise<Module>} bindings
 * @property {() => URL} module
 */

/** @type {Readonly<Record<'simd128' | 'relaxed-simd', Build> & Record<ThreadsBuildName, Build<ThreadsModule>> & { webgpu: Build<GpuModule> }>} */
export const BUILDS = Object.freeze({
  simd128: {
    bindings: () => import('../wasm/simd128/relayops_intent.js'),
    module: () => new URL('../wasm/simd128/relayops_intent_bg.wasm', import.meta.url),
  },
  'relaxed-simd': {
    bindings: () => import('../wasm/relaxed-simd/relayops_intent.js'),
    module: () => new URL('../wasm/relaxed-simd/relayops_intent_bg.wasm', import.meta.url),
  },
  'simd128-threads': {
    bindings: () => import('../wasm/simd128-threads/relayops_intent.js'),
    module: () => new URL('../wasm/simd128-threads/relayops_intent_bg.wasm', import.meta.url),
  },
  'relaxed-simd-threads': {
    bindings: () => import('../wasm/relaxed-simd-threads/relayops_intent.js'),
    module: () => new URL('../wasm/relaxed-simd-threads/relayops_intent_bg.wasm', import.meta.url),
  },
  webgpu: {
    bindings: () => import('../wasm/webgpu/relayops_intent.js'),
    module: () => new URL('../wasm/webgpu/relayops_intent_bg.wasm', import.meta.url),
  },
});
