/** What a person reads: one table for each question, in Markdown. */

/** @typedef {import('./first.js').FirstCell} FirstCell */
/** @typedef {import('./cells.js').Cell} Cell */

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
