/** What a person reads: one table for each question, in Markdown. */

import { median } from './statistics.js';

/** @typedef {import('./first.js').FirstCell} FirstCell */
/** @typedef {import('./cells.js').Cell} Cell */
/** @typedef {import('./qwen/cells.js').KernelCell} KernelCell */
/** @typedef {import('./qwen/cells.js').MemoryCell} MemoryCell */
/** @typedef {import('./qwen/cells.js').LargeCell} LargeCell */

/** @param {number} value Milliseconds, to three digits or more. */
const ms = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** @param {number} value */
const times = (value) => `${value.toFixed(2)}x`;

/** @param {string[][]} rows The first is the header. */
function markdown([header, ...rows]) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

/** @param {Cell} cell @returns {string} */
function name({ engine, precision, about }) {
  return precision === null ? `${engine} (${about.architecture}, ${about.backend})` : `${engine}, ${precision}`;
}

/**
 * @param {readonly Cell[]} cells
 * @returns {string}
 */
export function steadyTable(cells) {
  const header = ['engine', 'threads', 'a message, ms median (10% to 90%)', 'in its Worker', 'times ours, paired (10% to 90%)', 'of medians'];
  const rows = cells.map((cell) => [
    name(cell),
    String(cell.threads),
    `${ms(cell.ms.median)} (${ms(cell.ms.p10)} to ${ms(cell.ms.p90)})`,
    ms(cell.engine_ms.median),
    cell.against_ours ? `${times(cell.against_ours.paired)} (${times(cell.against_ours.p10)} to ${times(cell.against_ours.p90)})` : '-',
    cell.against_ours ? times(cell.against_ours.of_medians) : '-',
  ]);
  return markdown([header, ...rows]);
}

/**
 * @param {readonly FirstCell[]} cells
 * @returns {string}
 */
export function firstTable(cells) {
  const rows = cells.map(({ engine, ms: time, bytes }) => [
    engine,
    ms(time.median),
    `${ms(time.min)} to ${ms(time.max)}`,
    (bytes / 1e6).toFixed(1),
  ]);
  return markdown([['first answer after navigation', 'ms median', 'least to most', 'MB transferred'], ...rows]);
}

/** @type {Record<import('../page/engines/large.js').Task, string>} */
const TASKS = {
  message: 'a message',
  enter: 'at Enter',
  batch: 'a batch',
  naive: 'a message, naive',
  smart: 'a message, smart',
  prefill: 'prefill of 128 tokens',
  profile: 'a message, instrumented',
};

/**
 * @param {readonly LargeCell[]} cells
 * @returns {string}
 */
export function largeTable(cells) {
  const rows = cells.map(({ engine, task, size, ms: time, counts, boundary_ms: boundary }) => [
    engine,
    size === undefined ? TASKS[task] : `${size} messages`,
    String(time.n),
    `${ms(time.median)} (${ms(time.p10)} to ${ms(time.p90)})`,
    rate(task, time.median, size ?? 1),
    note(counts, boundary),
  ]);
  return markdown([['engine, threads last', 'task', 'n', 'ms median (10% to 90%)', 'a second', 'of it'], ...rows]);
}

/**
 * @param {import('../page/engines/large.js').Task} task
 * @param {number} median
 * @param {number} messages
 * @returns {string}
 */
function rate(task, median, messages) {
  return task === 'prefill' ? `${(128_000 / median).toFixed(1)} tokens` : `${((1000 * messages) / median).toFixed(2)} messages`;
}

/**
 * @param {Record<string, number>} counts
 * @param {import('./statistics.js').Spread | null} boundary
 * @returns {string}
 */
function note(counts, boundary) {
  const all = Object.entries(counts).map(([name, value]) => `${name} ${Number.isInteger(value) ? value : ms(value)}`);
  if (boundary) all.push(`page to engine and back ${ms(boundary.median)}`);
  return all.join(', ') || '-';
}

/**
 * @param {readonly KernelCell[]} cells
 * @returns {string}
 */
export function kernelTable(cells) {
  const billions = (/** @type {number} */ value) => (value / 1e9).toFixed(1);
  const rows = cells.map(({ format, rows, cols, tokens, kernel, product, alone, peak }) => [
    `${format}, ${rows} x ${cols}, ${tokens} rows`,
    kernel,
    billions(product),
    billions(alone),
    billions(peak),
    `${((100 * product) / peak).toFixed(0)}%`,
  ]);
  return markdown([['product', 'kernel', 'GMAC/s', 'kernel alone', 'its instruction', 'product of instruction'], ...rows]);
}

/**
 * @param {readonly MemoryCell[]} cells
 * @returns {string}
 */
export function memoryTable(cells) {
  const rows = cells.map(({ engine, peak_bytes: peaks }) => {
    const sizes = peaks.map((bytes) => bytes / 2 ** 20);
    return [engine, median(sizes).toFixed(0), `${Math.min(...sizes).toFixed(0)} to ${Math.max(...sizes).toFixed(0)}`, String(sizes.length)];
  });
  return markdown([['peak memory of the tab', 'MiB median', 'least to most', 'n'], ...rows]);
}

/**
 * @param {import('./ratios.js').Ratios} ratios
 * @returns {string}
 */
export function ratioTable(ratios) {
  const rows = Object.entries(ratios).map(([key, value]) => [key, value === null ? 'not measured' : value.toFixed(3)]);
  return markdown([['ratio', 'value'], ...rows]);
}
