/** A square plot of shares against shares, with axes. */

import { create } from '../ui/dom.js';
import { draw, picture, words } from './svg.js';

const SIZE = { width: 360, height: 300, left: 58, right: 22, top: 10, bottom: 42 };

/**
 * @typedef {object} Axis
 * @property {string} title
 * @property {number} max Its end; it begins at 0.
 */

/**
 * @typedef {object} Plot
 * @property {SVGSVGElement} svg
 * @property {(share: number) => number} x Place of a value.
 * @property {(share: number) => number} y
 */

/**
 * @param {{ label: string, className: string, x: Axis, y: Axis }} options
 * @returns {Plot}
 */
export function plot({ label, className, x, y }) {
  const { width, height, left, right, top, bottom } = SIZE;
  const placeX = (/** @type {number} */ value) => left + ((width - left - right) * value) / x.max;
  const placeY = (/** @type {number} */ value) => height - bottom - ((height - top - bottom) * value) / y.max;
  const svg = picture({ width, height, label, className });
  for (let step = 0; step <= 4; step += 1) {
    const [atX, atY] = [placeX((x.max * step) / 4), placeY((y.max * step) / 4)];
    svg.append(
      draw('line', { x1: left, x2: width - right, y1: atY, y2: atY, class: step === 0 ? 'axis' : 'grid' }),
      words(left - 6, atY + 4, tick((y.max * step) / 4), { anchor: 'end' }),
      words(atX, height - bottom + 16, tick((x.max * step) / 4), { anchor: 'middle' }),
    );
  }
  svg.append(
    draw('line', { x1: left, x2: left, y1: top, y2: height - bottom, class: 'axis' }),
    words((left + width - right) / 2, height - 8, x.title, { anchor: 'middle', className: 'title' }),
    words(12, (top + height - bottom) / 2, y.title, { anchor: 'middle', className: 'title', turned: true }),
  );
  return { svg, x: placeX, y: placeY };
}

/** @param {number} share */
function tick(share) {
  return `${Number((share * 100).toFixed(1))} %`;
}

/**
 * The numbers of a picture, to open.
 *
 * @param {string} title
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function numbersOf(title, head, rows) {
  const cells = (/** @type {string[]} */ texts, /** @type {'th' | 'td'} */ tag) => {
    return texts.map((text) => create(tag, { text, attributes: tag === 'th' ? { scope: 'col' } : {} }));
  };
  const table = create(
    'table',
    { className: 'numbers-table' },
    create('caption', { text: title, className: 'visually-hidden' }),
    create('thead', {}, create('tr', {}, ...cells(head, 'th'))),
    create('tbody', {}, ...rows.map((row) => create('tr', {}, ...cells(row, 'td')))),
  );
  const scroll = create('div', { className: 'scroll', attributes: { tabindex: '0', role: 'group', 'aria-label': title } }, table);
  return create('details', {}, create('summary', { text: 'As a table' }), scroll);
}
