/** What the model runs on, as badges. */

/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */

/**
 * @typedef {object} Badge
 * @property {string} text
 * @property {boolean} on Whether it is at work.
 */

/**
 * By a part of the backend's name, the fastest first; one of them is at work.
 *
 * @type {[string, string][]}
 */
const KERNELS = [
  ['webgpu', 'WebGPU'],
  ['relaxed-simd', 'Relaxed SIMD'],
  ['simd128', 'SIMD'],
];

/**
 * @param {ModelInfo} info
 * @returns {Badge[]}
 */
export function badgesOf({ backend, threads }) {
  const at = KERNELS.findIndex(([part]) => backend.includes(part));
  const kernels = at < 0 ? [{ text: backend, on: true }] : [{ text: KERNELS[at][1], on: true }];
  return [...kernels, { text: threads === 1 ? '1 thread' : `${threads} threads`, on: threads > 1 }];
}

/**
 * @param {ModelInfo} info
 * @returns {string} Why nothing faster runs.
 */
export function reasonOf({ backend, reason }) {
  if (reason !== null) return `Not faster because: ${reason}.`;
  return backend.includes('webgpu') ? 'On the graphics processor.' : 'On the processor, with the fastest build that the engine has.';
}
