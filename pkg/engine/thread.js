/**
 * Entry of the Workers that help the engine's: takes the module and the memory that it shares, then works for it for ever.
 *
 * @module
 */

import { BUILDS } from './builds.js';

/** Bytes of a helper's stack, whole pages: kernels need little. */
const STACK_BYTES = 512 * 1024;

/** @typedef {{ build: import('./builds.js').BuildName, module: WebAssembly.Module, memory: WebAssembly.Memory }} Start */

/** @param {MessageEvent<Start>} event */
async function start({ data: { build, module, memory } }) {
  const bindings = await BUILDS[build].bindings();
  await bindings.default({ module_or_path: module, memory, thread_stack_size: STACK_BYTES });
  try {
    bindings.help?.();
  } catch (error) {
    // Whoever waits for what this one was doing must not wait any longer.
    bindings.break_off?.();
    throw error;
  }
}

addEventListener('message', (event) => void start(event), { once: true });
