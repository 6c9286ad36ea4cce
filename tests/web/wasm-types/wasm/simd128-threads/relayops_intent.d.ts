/** As the build without threads, and what only threads have. */

export * from '../simd128/relayops_intent.js';
export { default } from '../simd128/relayops_intent.js';
export function help(): void;
export function break_off(): void;
