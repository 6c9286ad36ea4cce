/** As the build without relaxed SIMD. */

export * from '../simd128/relayops_intent.js';
export { default } from '../simd128/relayops_intent.js';
