/** How confident the model was, and where the messages went. */

import { create } from '../ui/dom.js';
import { whole } from '../ui/format.js';
import { numbersOf } from './plot.js';
import { draw, picture, words } from './svg.js';

const BINS = 10;
const SIZE = { width: 360, height: 200, left: 8, right: 8, top: 18, bottom: 38 };

/** @param {{ confidence: number | null, route: string }[]} rows */
export function histogram(rows) {
  const bins = Array.from({ length: BINS }, () => ({ local: 0, escalate: 0 }));
  for (const { confidence, route } of rows) {
    if (confidence === null) continue;
    const bin = bins[Math.min(Math.floor(confidence * BINS), BINS - 1)];
    if (route === 'local') bin.local += 1;
    else bin.escalate += 1;
  }
  const { width, height, left, right, top, bottom } = SIZE;
  const most = Math.max(1, ...bins.map(({ local, escalate }) => local + escalate));
  const step = (width - left - right) / BINS;
  const tall = (/** @type {number} */ count) => ((height - top - bottom) * count) / most;
  const base = height - bottom;
  const label = 'Messages by confidence, in ten equal steps from 0 to 100 percent. The numbers stand in the table below.';
  const svg = picture({ width, height, label, className: 'histogram' }, draw('line', { x1: left, x2: width - right, y1: base, y2: base, class: 'axis' }));
  for (const [index, { local, escalate }] of bins.entries()) {
    const [x, wide] = [left + index * step + 2, step - 4];
    svg.append(
      draw('rect', { x, width: wide, y: base - tall(local), height: tall(local), class: 'local' }),
      draw('rect', { x, width: wide, y: base - tall(local + escalate), height: tall(escalate), class: 'escalate' }),
    );
    if (local + escalate > 0) svg.append(words(x + wide / 2, base - tall(local + escalate) - 4, whole(local + escalate), { anchor: 'middle' }));
  }
  for (let at = 0; at <= BINS; at += 2) svg.append(words(left + at * step, base + 15, `${at * 10} %`, { anchor: at === 0 ? 'start' : at === BINS ? 'end' : 'middle' }));
  svg.append(words(width / 2, height - 6, 'confidence', { anchor: 'middle', className: 'title' }));
  const numbers = bins.map(({ local, escalate }, index) => [`${index * 10} to ${(index + 1) * 10} %`, whole(local), whole(escalate)]);
  const key = create('p', { className: 'key small' }, create('span', { text: 'this device', className: 'local' }), create('span', { text: 'escalates', className: 'escalate' }));
  return create('figure', {}, create('figcaption', { text: 'Confidence' }), key, svg, numbersOf('Messages by confidence', ['Confidence', 'This device', 'Escalates'], numbers));
}
