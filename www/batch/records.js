/** Rows with what became of them: how they sort, what they amount to, how they are exported. */

import { csvField } from './csv.js';

/** @typedef {import('../ui/classify-each.js').Outcome} Outcome */
/** @typedef {import('./rows.js').Rows} Rows */

/**
 * One row as the table shows it.
 *
 * @typedef {object} Row
 * @property {number} number From 1, as in the file.
 * @property {string} text
 * @property {string} intent Empty where there is none, like the next two.
 * @property {number | null} confidence
 * @property {string} route `local`, `escalate`, or empty where the row could not be classified.
 * @property {string} reason The gate's, or the error's code.
 */

/** @typedef {keyof Row} Field */

/**
 * @param {string} text
 * @param {Outcome} outcome
 * @param {number} index
 * @returns {Row}
 */
export function rowOf(text, outcome, index) {
  const number = index + 1;
  if ('error' in outcome) return { number, text, intent: '', confidence: null, route: '', reason: outcome.error };
  const { intent, confidence, decision } = outcome.result;
  return { number, text, intent, confidence, route: decision.route, reason: decision.reason };
}

/**
 * @param {Row[]} rows
 * @param {Field} field
 * @param {boolean} descending
 * @returns {Row[]} Sorted; equals stay in the order of the file, and what has no value comes last.
 */
export function sorted(rows, field, descending) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [one, other] = [a[field], b[field]];
    if (one === other) return a.number - b.number;
    if (one === null || one === '') return 1;
    if (other === null || other === '') return -1;
    return one < other ? -sign : sign;
  });
}

/**
 * @param {Row[]} rows
 * @param {(row: Row) => string} key
 * @returns {[string, number][]} How many there are of each, the most first.
 */
export function tallied(rows, key) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const row of rows) counts.set(key(row), (counts.get(key(row)) ?? 0) + 1);
  return Array.from(counts).sort((a, b) => b[1] - a[1]);
}

/** What stands beside the file's own columns. */
const ADDED = ['predicted_intent', 'predicted_confidence', 'route', 'reason'];

/** @param {Row} row */
function added({ intent, confidence, route, reason }) {
  return [intent, confidence, route, reason];
}

/** @param {string[]} columns */
function names(columns) {
  return [...columns, ...ADDED.map((name) => (columns.includes(name) ? `${name} (relayops)` : name))];
}

/**
 * @param {Rows} given
 * @param {Row[]} rows The first of them, in the order of the file.
 * @returns {Blob} RFC 4180, with a header.
 */
export function toCsv({ columns, rows: given }, rows) {
  const line = (/** @type {(string | number | null)[]} */ fields) => `${fields.map((field) => csvField(String(field ?? ''))).join(',')}\r\n`;
  const lines = rows.map((row, index) => line([...given[index], ...added(row)]));
  return new Blob([line(names(columns)), ...lines], { type: 'text/csv' });
}

/**
 * @param {Rows} given
 * @param {Row[]} rows The first of them, in the order of the file.
 * @returns {Blob} One JSON object a line.
 */
export function toJsonl({ columns, rows: given }, rows) {
  const keys = names(columns);
  const line = (/** @type {Row} */ row, /** @type {number} */ index) => {
    const values = [...given[index], ...added(row)];
    return `${JSON.stringify(Object.fromEntries(keys.map((key, at) => [key, values[at]])))}\n`;
  };
  return new Blob(rows.map(line), { type: 'application/x-ndjson' });
}
