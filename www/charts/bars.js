/** Horizontal bars of counts, as a table that draws itself: readable with and without eyes. */

import { create } from '../ui/dom.js';
import { percent, whole } from '../ui/format.js';

/**
 * @param {string} caption
 * @param {{ label: string, count: number, className?: string }[]} bars
 * @returns {HTMLTableElement}
 */
export function barTable(caption, bars) {
  const total = bars.reduce((sum, { count }) => sum + count, 0);
  const most = bars.reduce((top, { count }) => Math.max(top, count), 1);
  const rows = bars.map(({ label, count, className = '' }) => {
    const fill = create('div', { className: 'fill' });
    fill.style.setProperty('--share', String(count / most));
    return create(
      'tr',
      { className },
      create('th', { text: label, attributes: { scope: 'row' } }),
      create('td', { attributes: { 'aria-hidden': 'true' } }, create('div', { className: 'track' }, fill)),
      create('td', { text: whole(count) }),
      create('td', { text: total === 0 ? '' : percent(count / total), className: 'muted' }),
    );
  });
  const cell = (/** @type {string} */ text) => create('th', { text, attributes: { scope: 'col' } });
  const head = create('tr', {}, cell('What'), create('td'), cell('Messages'), cell('Share'));
  return create(
    'table',
    { className: 'bars' },
    create('caption', { text: caption }),
    create('thead', { className: 'visually-hidden' }, head),
    create('tbody', {}, ...rows),
  );
}
