/**
 * Server-sent events (HTML standard, section 9.2) from a response's body. `EventSource` can't send a token.
 *
 * @module
 */

/**
 * @typedef {object} ServerEvent
 * @property {string} type `message` where the stream names none.
 * @property {string} data
 * @property {string} lastEventId
 */

export class EventParser {
  #rest = '';
  #data = '';
  #type = '';
  #lastEventId = '';
  #begun = false;

  /**
   * @param {string} text The next of the stream, cut anywhere.
   * @returns {ServerEvent[]} What is complete now.
   */
  push(text) {
    /** @type {ServerEvent[]} */
    const events = [];
    this.#rest += this.#begun || text === '' ? text : text.replace(/^\ufeff/, '');
    this.#begun ||= text !== '';
    for (;;) {
      // A carriage return at the end may be the first half of a line end.
      const end = /\r\n|\n|\r(?!$)/.exec(this.#rest);
      if (!end) return events;
      const event = this.#line(this.#rest.slice(0, end.index));
      this.#rest = this.#rest.slice(end.index + end[0].length);
      if (event) events.push(event);
    }
  }

  /**
   * @param {string} line
   * @returns {ServerEvent | null}
   */
  #line(line) {
    if (line === '') return this.#dispatch();
    const [, field, value] = /** @type {RegExpExecArray} */ (/^([^:]*):? ?([^]*)$/.exec(line));
    if (field === 'data') this.#data += `${value}\n`;
    else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#lastEventId = value;
    return null;
  }

  #dispatch() {
    const [data, type] = [this.#data, this.#type || 'message'];
    [this.#data, this.#type] = ['', ''];
    return data === '' ? null : { type, data: data.slice(0, -1), lastEventId: this.#lastEventId };
  }
}
