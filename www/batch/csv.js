/**
 * Comma-separated values as RFC 4180 describes them, read piece by piece. Beyond it: any of `\r\n`, `\n` and `\r` ends a
 * record, the separator may be a semicolon or a tab, a byte order mark is skipped, and so are empty lines.
 *
 * @module
 */

/** What may separate fields, the likelier first. */
const SEPARATORS = [',', ';', '\t'];

/** A record that breaks the format. */
export class CsvError extends Error {
  /**
   * @param {number} line From 1.
   * @param {string} detail
   */
  constructor(line, detail) {
    super(`line ${line}: ${detail}`);
    this.code = 'invalid_csv';
  }
}

/** @typedef {'start' | 'plain' | 'quoted' | 'closed'} FieldState Where in a field the reader is. */

export class CsvParser {
  /** @type {string | null} */
  #separator;
  /** @type {FieldState} */
  #state = 'start';
  #field = '';
  /** @type {string[]} */
  #record = [];
  #line = 1;
  #openedAt = 0;
  #afterReturn = false;
  /** Held back until there is a whole first record to guess the separator from. */
  #head = '';

  /** @param {string} [separator] The likeliest if omitted. */
  constructor(separator) {
    this.#separator = separator ?? null;
  }

  /**
   * @param {string} text The next piece, cut anywhere.
   * @returns {string[][]} Records that are complete now.
   * @throws {CsvError}
   */
  push(text) {
    if (this.#separator !== null) return this.#read(text, this.#separator);
    this.#head += text;
    const guessed = guessSeparator(this.#head);
    return guessed === null ? [] : this.#begin(guessed);
  }

  /**
   * @returns {string[][]} The last record, if no line end closed it.
   * @throws {CsvError}
   */
  end() {
    const records = this.#separator === null ? this.#begin(guessSeparator(`${this.#head}\n`) ?? ',') : [];
    if (this.#state === 'quoted') throw new CsvError(this.#openedAt, 'a quote is opened and never closed');
    this.#endRecord(records);
    return records;
  }

  /** @param {string} separator */
  #begin(separator) {
    const head = this.#head.replace(/^\ufeff/, '');
    [this.#separator, this.#head] = [separator, ''];
    return this.#read(head, separator);
  }

  /**
   * @param {string} text
   * @param {string} separator
   */
  #read(text, separator) {
    /** @type {string[][]} */
    const records = [];
    for (const character of text) {
      const isEnd = character === '\n' || character === '\r';
      const second = this.#afterReturn && character === '\n';
      this.#afterReturn = character === '\r';
      if (isEnd && !second) this.#line += 1;
      if (this.#state === 'quoted') this.#readQuoted(character);
      else if (isEnd) second || this.#endRecord(records);
      else if (character === separator) this.#endField();
      else this.#readPlain(character);
    }
    return records;
  }

  /** @param {string} character */
  #readQuoted(character) {
    if (character === '"') this.#state = 'closed';
    else this.#field += character;
  }

  /** @param {string} character */
  #readPlain(character) {
    if (this.#state === 'closed') {
      if (character !== '"') throw new CsvError(this.#line, 'there is text after a closing quote');
      this.#field += character;
      this.#state = 'quoted';
    } else if (this.#state === 'start' && character === '"') {
      this.#state = 'quoted';
      this.#openedAt = this.#line;
    } else {
      this.#field += character;
      this.#state = 'plain';
    }
  }

  #endField() {
    this.#record.push(this.#field);
    this.#field = '';
    this.#state = 'start';
  }

  /** @param {string[][]} records */
  #endRecord(records) {
    const isEmpty = this.#record.length === 0 && this.#state === 'start';
    if (isEmpty) return;
    this.#endField();
    records.push(this.#record);
    this.#record = [];
  }
}

/**
 * @param {string} text
 * @returns {string | null} The separator that the first record has most of; `null` while its end is not there.
 */
function guessSeparator(text) {
  const counts = SEPARATORS.map(() => 0);
  let quoted = false;
  let begun = false;
  for (const character of text) {
    if (character === '"') quoted = !quoted;
    if (quoted) continue;
    const isEnd = character === '\n' || character === '\r';
    if (isEnd && begun) return SEPARATORS[counts.indexOf(Math.max(...counts))];
    begun ||= !isEnd && character !== '\ufeff';
    const at = SEPARATORS.indexOf(character);
    if (at >= 0) counts[at] += 1;
  }
  return null;
}

/**
 * One field as it is written. A field that a spreadsheet would run as a formula begins with an apostrophe.
 *
 * @param {string} value
 * @returns {string}
 */
export function csvField(value) {
  const safe = /^[=+\-@\t\r]/.test(value) && !/^[+-]?\d*\.?\d+(e[+-]?\d+)?$/i.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
