/** What was measured, as it goes into the JSON, and figures of it. */

import { median, spread } from '../statistics.js';

/** @typedef {import('../../page/engines/large.js').Sample} Sample */
/** @typedef {import('../../page/engines/large.js').Task} Task */
/** @typedef {import('../../page/engines/module-messages.js').Rates} Rates */
/** @typedef {import('../statistics.js').Spread} Spread */
/** @typedef {import('./plan.js').CellPlan} CellPlan */

/**
 * @typedef {object} LargeCell
 * @property {string} engine
 * @property {Task} task
 * @property {number} [size] Messages at a time.
 * @property {Record<string, unknown>} about
 * @property {Spread} ms
 * @property {Spread | null} boundary_ms From the page into the engine and back, where the engine tells its own time.
 * @property {Record<string, number>} counts Medians of what the engine counted.
 * @property {(string | null)[]} labels Of the messages, as answered last.
 * @property {number[][]} samples_ms [message][sample]
 * @property {Record<string, number>[]} samples_counts One a sample, in the order of `samples_ms`.
 */

/**
 * @typedef {object} MemoryCell
 * @property {string} engine
 * @property {number[]} peak_bytes Of the page's process, one a start.
 */

/** @typedef {{ format: string, rows: number, cols: number, tokens: number } & Rates} KernelCell */

/** Formats of the quantized products in the pack. */
export const PACK_FORMATS = ['Q4_0', 'Q5_0'];

/**
 * @param {CellPlan} plan
 * @param {Record<string, unknown>} about
 * @param {Sample[][]} samples [message][sample]
 * @returns {LargeCell}
 */
export function cellOf({ engine, task, size }, about, samples) {
  const all = samples.flat();
  const boundary = all.flatMap(({ ms, engineMs }) => (engineMs === undefined ? [] : [ms - engineMs]));
  const names = [...new Set(all.flatMap(({ counts }) => Object.keys(counts ?? {})))];
  const counts = names.map((name) => [name, median(all.flatMap(({ counts }) => (counts?.[name] === undefined ? [] : [counts[name]])))]);
  return {
    engine,
    task,
    ...(size !== undefined && { size }),
    about,
    ms: spread(all.map(({ ms }) => ms)),
    boundary_ms: boundary.length > 0 ? spread(boundary) : null,
    counts: Object.fromEntries(counts),
    labels: samples.map((some) => some.at(-1)?.label ?? null),
    samples_ms: samples.map((some) => some.map(({ ms }) => ms)),
    samples_counts: all.map(({ counts }) => counts ?? {}),
  };
}

/**
 * The product's rate as a share of its instruction's, the worst of the pack's formats and shapes.
 *
 * @param {readonly KernelCell[]} cells
 * @returns {number | null} `null` for no cells.
 */
export function kernelShare(cells) {
  const shares = cells.filter(({ format }) => PACK_FORMATS.includes(format)).map(({ product, peak }) => product / peak);
  return shares.length > 0 ? Math.min(...shares) : null;
}

/**
 * The share of a message's time that is outside the quantized products, the way between page and Worker included.
 *
 * @param {LargeCell} profile Of the instrumented module, in its Worker.
 * @param {LargeCell} message Of the package on as many threads.
 * @returns {number} From 0 to 1; the median over the samples.
 */
export function outsideMatmul(profile, message) {
  const boundary = message.boundary_ms?.median ?? NaN;
  const times = profile.samples_ms.flat();
  const shares = times.map((ms, index) => {
    const parts = Object.entries(profile.samples_counts[index]);
    const matmul = parts.filter(([name]) => name.startsWith('matmul: ')).reduce((sum, [, time]) => sum + time, 0);
    return 1 - matmul / (ms + boundary);
  });
  return median(shares);
}
