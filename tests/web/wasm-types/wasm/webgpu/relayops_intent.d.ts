/** As the build without WebGPU, and what only that with it has. */

import type { GpuModule } from '../../../../../pkg/engine/wasm-module.d.ts';

export * from '../simd128/relayops_intent.js';
export { default } from '../simd128/relayops_intent.js';
export const Gpu: GpuModule['Gpu'];
