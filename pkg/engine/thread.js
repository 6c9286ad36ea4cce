/**
 * Entry of the Workers that help the engine's: takes the module and the memory that it shares, and works when there is work.
 *
 * @module
 */

import { BUILDS } from './builds.js';

/** Bytes of a helper's stack, whole pages: kernels need little. */
const STACK_BYTES = 512 * 1024;

/** @param {MessageEvent<import('../protocol.js').ThreadStart>} event */
async function start({ data: { build, module, memory } }) {
  const pool = await BUILDS[build].bindings();
  await pool.default({ module_or_path: module, memory, thread_stack_size: STACK_BYTES });
  const words = new Int32Array(memory.buffer);
  const turn = pool.turn_address() / Int32Array.BYTES_PER_ELEMENT;
  pool.join();
  for (;;) await changed(words, turn, work(pool));
}

/**
 * @param {import('./builds.js').ThreadsModule} pool
 * @returns {number} The turn after which there was nothing to do.
 */
function work(pool) {
  try {
    return pool.help();
  } catch (error) {
    // Whoever waits for what this one was doing must not wait any longer.
    pool.break_off();
    throw error;
  }
}

/**
 * Waits, without taking any time, until a word of memory is not `value`. Where the browser can, without holding the Worker
 * up: one that is held up is not ended until seconds later.
 *
 * @param {Int32Array} words
 * @param {number} index
 * @param {number} value
 * @returns {Promise<unknown>}
 */
async function changed(words, index, value) {
  if (typeof Atomics.waitAsync === 'function') return Atomics.waitAsync(words, index, value).value;
  return Atomics.wait(words, index, value);
}

// Reported, so that whoever started this Worker hears of it.
addEventListener('message', (event) => void start(event).catch(reportError), { once: true });
