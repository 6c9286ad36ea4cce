/** A file of messages as rows and columns, read piece by piece so that the page stays usable. */

import { CsvParser } from './csv.js';

/** Most rows that are read: beyond it the page would need more memory than a tab should. */
const MAX_ROWS = 200_000;

/** Names of columns that are likely to hold the message. */
const LIKELY = ['text', 'message', 'body', 'content', 'utterance', 'customer'];

/**
 * @typedef {object} Rows
 * @property {string} name Of the file.
 * @property {string[]} columns
 * @property {string[][]} rows Each as long as `columns`.
 */

/** A file that can't be read as rows. */
export class RowsError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.code = 'invalid_rows';
  }
}

/**
 * @param {Blob & { name?: string }} file
 * @param {boolean} header Whether the first record of a CSV file names the columns.
 * @returns {Promise<Rows>}
 * @throws {RowsError | import('./csv.js').CsvError}
 */
export async function readRows(file, header) {
  const name = file.name ?? 'rows';
  const pieces = file.stream().pipeThrough(new TextDecoderStream('utf-8', { fatal: true }));
  try {
    const { columns, rows } = /\.(jsonl|ndjson)$/i.test(name) ? await readJsonl(pieces) : await readCsv(pieces, header, name);
    if (rows.length === 0) throw new RowsError(`${name} has no rows`);
    return { name, columns, rows };
  } catch (error) {
    if (error instanceof TypeError) throw new RowsError(`${name} is not text in UTF-8`);
    throw error;
  }
}

/**
 * @param {ReadableStream<string>} pieces
 * @param {boolean} header
 * @param {string} name
 */
async function readCsv(pieces, header, name) {
  const parser = new CsvParser(/\.tsv$/i.test(name) ? '\t' : undefined);
  /** @type {string[][]} */
  const rows = [];
  for await (const piece of eachOf(pieces)) keep(rows, parser.push(piece), header ? 1 : 0);
  keep(rows, parser.end(), header ? 1 : 0);
  const width = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const names = header ? (rows.shift() ?? []) : [];
  const columns = Array.from({ length: width }, (_, index) => names[index]?.trim() || `column ${index + 1}`);
  for (const row of rows) while (row.length < width) row.push('');
  return { columns: distinct(columns), rows };
}

/** @param {ReadableStream<string>} pieces */
async function readJsonl(pieces) {
  /** @type {Map<string, number>} */
  const columns = new Map();
  /** @type {string[][]} */
  const rows = [];
  let line = 0;
  const take = (/** @type {string} */ text) => {
    line += 1;
    if (text.trim() === '') return;
    keep(rows, [rowOf(text, line, columns)], 0);
  };
  let rest = '';
  for await (const piece of eachOf(pieces)) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) take(text);
  }
  take(rest);
  for (const row of rows) for (let at = 0; at < columns.size; at += 1) row[at] ??= '';
  return { columns: Array.from(columns.keys()), rows };
}

/**
 * @param {string} text
 * @param {number} line From 1.
 * @param {Map<string, number>} columns Places of the fields; new ones are added.
 * @returns {string[]}
 */
function rowOf(text, line, columns) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RowsError(`line ${line} is not JSON`);
  }
  const fields = typeof value === 'string' ? { text: value } : value;
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw new RowsError(`line ${line} is not a JSON object`);
  /** @type {string[]} */
  const row = [];
  for (const [name, field] of Object.entries(fields)) {
    const at = columns.get(name) ?? columns.size;
    columns.set(name, at);
    row[at] = typeof field === 'string' ? field : JSON.stringify(field);
  }
  return row;
}

/**
 * @param {string[][]} rows
 * @param {string[][]} more
 * @param {number} besides Rows that are none.
 */
function keep(rows, more, besides) {
  // Not by spreading: a piece may have more records than a call takes arguments.
  for (const row of more) rows.push(row);
  if (rows.length - besides > MAX_ROWS) throw new RowsError(`there are more than ${MAX_ROWS} rows; split the file`);
}

/** Not every browser lets a stream be iterated. @param {ReadableStream<string>} stream */
async function* eachOf(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** @param {string[]} names */
function distinct(names) {
  return names.map((name, index) => (names.indexOf(name) === index ? name : `${name} (${index + 1})`));
}

/**
 * @param {Rows} rows
 * @returns {number} The column that most likely holds the messages: by its name, else the one with most text.
 */
export function likelyColumn({ columns, rows }) {
  for (const name of LIKELY) {
    const named = columns.findIndex((column) => column.toLowerCase() === name);
    if (named >= 0) return named;
  }
  const sample = rows.slice(0, 100);
  const lengths = columns.map((_, at) => sample.reduce((sum, row) => sum + row[at].length, 0));
  return lengths.indexOf(Math.max(...lengths));
}
