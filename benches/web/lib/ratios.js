/** The figures that the goals are about, one number each. */

import { kernelShare, outsideMatmul } from './qwen/cells.js';
import { instrumented, native, ours, wllama, wllamaNaive } from './qwen/plan.js';
import { median, ratio } from './statistics.js';

/** @typedef {import('../page/engines/large.js').Task} Task */
/** @typedef {import('./qwen/cells.js').KernelCell} KernelCell */
/** @typedef {import('./qwen/cells.js').MemoryCell} MemoryCell */
/** @typedef {import('./qwen/cells.js').LargeCell} LargeCell */

/**
 * @typedef {object} Measured What was measured; empty where a part was left out.
 * @property {readonly LargeCell[]} cells Of both sizes.
 * @property {readonly KernelCell[]} kernels
 * @property {readonly MemoryCell[]} memory
 * @property {number | null} compactOrt
 */

/** @typedef {Record<'prefill_original_1t' | 'prefill_pack_1t' | 'message_smart' | 'enter_smart' | 'message_naive' | 'message_native' | 'enter_native' | 'message_smart_1.5b' | 'enter_smart_1.5b' | 'compact_ort' | 'kernel_peak' | 'threads_2' | 'memory_original' | 'outside_matmul', number | null>} Ratios */

const THREADS = [1, 2];

/**
 * Times are the peer's divided by ours, paired by message: above 1, ours is faster. Of several thread counts the worst
 * counts. `kernel_peak` is a share of the instruction's rate, `memory_original` ours divided by the peer's,
 * `outside_matmul` a share of the time: of the last two the smaller is the better.
 *
 * @param {Measured} measured
 * @returns {Ratios} `null` for what was not measured.
 */
export function ratios({ cells, kernels, memory, compactOrt }) {
  const find = (/** @type {string} */ engine, /** @type {Task} */ task) => cells.find((cell) => cell.engine === engine && cell.task === task);
  const paired = (/** @type {LargeCell | undefined} */ theirs, /** @type {LargeCell | undefined} */ own) => (theirs && own ? pairedRatio(theirs, own) : null);
  const against = (/** @type {Task} */ peerTask, /** @type {Task} */ task) => {
    const peer = peerTask === 'naive' ? wllamaNaive : wllama;
    return worst(Math.min, THREADS.map((threads) => paired(find(peer('0.5b', threads), peerTask), find(ours('pack', threads), task))));
  };
  const prefill = (/** @type {string} */ model) => {
    const [theirs, own] = [find(wllamaNaive('0.5b', 1), 'prefill'), find(instrumented(model, 1), 'prefill')];
    return theirs && own ? theirs.ms.median / own.ms.median : null;
  };
  const beside = (/** @type {Task} */ task) => paired(find(native('0.5b'), 'smart'), find(ours('pack', 2), task));
  const large = (/** @type {Task} */ task) => paired(find(wllama('1.5b', 2), 'smart'), find(ours('1.5b', 2), task));
  const outside = THREADS.map((threads) => {
    const [profile, message] = [find(instrumented('pack', threads), 'profile'), find(ours('pack', threads), 'message')];
    return profile && message ? outsideMatmul(profile, message) : null;
  });
  return {
    prefill_original_1t: prefill('original'),
    prefill_pack_1t: prefill('pack'),
    message_smart: against('smart', 'message'),
    enter_smart: against('smart', 'enter'),
    message_naive: against('naive', 'message'),
    message_native: beside('message'),
    enter_native: beside('enter'),
    'message_smart_1.5b': large('message'),
    'enter_smart_1.5b': large('enter'),
    compact_ort: compactOrt,
    kernel_peak: kernelShare(kernels),
    threads_2: paired(find(ours('pack', 1), 'message'), find(ours('pack', 2), 'message')),
    memory_original: worst(Math.max, THREADS.map((threads) => memoryRatio(memory, ours('original', threads), wllama('0.5b', threads)))),
    outside_matmul: worst(Math.max, outside),
  };
}

/**
 * @param {(...values: number[]) => number} pick
 * @param {(number | null)[]} values
 * @returns {number | null} `null` unless all are there.
 */
function worst(pick, values) {
  const known = values.filter((value) => value !== null);
  return known.length === values.length ? pick(...known) : null;
}

/**
 * Over the messages that both were asked.
 *
 * @param {LargeCell} theirs
 * @param {LargeCell} own
 * @returns {number}
 */
export function pairedRatio(theirs, own) {
  const both = theirs.samples_ms.flatMap((times, message) => (times.length > 0 && own.samples_ms[message]?.length > 0 ? [message] : []));
  if (both.length === 0) throw new Error(`${theirs.engine} and ${own.engine} were asked no message that both have`);
  const of = (/** @type {LargeCell} */ cell) => both.map((message) => cell.samples_ms[message]);
  return ratio(of(theirs), of(own)).paired;
}

/**
 * @param {readonly MemoryCell[]} cells
 * @param {string} own
 * @param {string} theirs
 * @returns {number | null}
 */
function memoryRatio(cells, own, theirs) {
  const of = (/** @type {string} */ engine) => cells.find((cell) => cell.engine === engine)?.peak_bytes ?? [];
  if (of(own).length === 0 || of(theirs).length === 0) return null;
  return median(of(own)) / median(of(theirs));
}
