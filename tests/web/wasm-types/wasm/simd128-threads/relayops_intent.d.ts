/** As the build without threads, and what only threads have. */

import type { ThreadsModule } from '../../../../../pkg/engine/wasm-module.d.ts';

export * from '../simd128/relayops_intent.js';
export { default } from '../simd128/relayops_intent.js';
export const join: ThreadsModule['join'];
export const help: ThreadsModule['help'];
export const turn_address: ThreadsModule['turn_address'];
export const break_off: ThreadsModule['break_off'];
