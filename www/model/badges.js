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
  // A GPU has threads of its own.
  if (backend === 'webgpu') return kernels;
  return [...kernels, { text: threads === 1 ? '1 thread' : `${threads} threads`, on: threads > 1 }];
}

/**
 * @param {ModelInfo} info
 * @returns {string} What it runs on, and why on nothing faster.
 */
export function reasonOf({ backend, reason, gpu }) {
  if (backend === 'webgpu') {
    const name = [gpu?.vendor, gpu?.architecture].filter(Boolean).join(' ');
    const place = `On ${gpu?.software ? 'a graphics processor in software' : 'the graphics processor'}${name === '' ? '' : ` (${name})`}`;
    return reason === null ? `${place}.` : `${place}. ${reason}.`;
  }
  if (reason !== null) return `Not faster because: ${reason}.`;
  return 'On the processor, with the fastest build that the engine has.';
}
