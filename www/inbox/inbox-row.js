/** A message of the inbox as a row of its list, with what an agent may do with it. */

import { button, create, showError } from '../ui/dom.js';
import { percent } from '../ui/format.js';
import { reachable } from '../ui/scrolling.js';
import { intentTitle, kindTitle, reasonSentence } from '../ui/words.js';

/** @typedef {import('./connection.js').Item} Item */
/** @typedef {{ handled?: boolean, corrected_intent?: string | null }} Change */

const TIME = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium' });

/**
 * @param {Item} item
 * @param {object} options
 * @param {string[]} options.labels That an agent may give.
 * @param {(change: Change) => void} options.onChange
 * @param {unknown} options.error Why the last change is not stored; `null` where it is.
 * @returns {HTMLLIElement}
 */
export function inboxRow(item, { labels, onChange, error }) {
  const { id, text, intent, reason, confidence, redactions, received_ms, handled_ms } = item;
  const sure = confidence === null ? '' : ` ${percent(confidence)}`;
  const time = create('time', { text: TIME.format(received_ms), attributes: { datetime: new Date(received_ms).toISOString() } });
  const head = create('p', { className: 'row small' }, create('strong', { text: intentTitle(intent) + sure }), create('span', { className: 'muted' }, `no. ${id}, `, time));
  const why = create('p', { className: 'small muted', text: reasonSentence(reason) });
  if (redactions.length > 0) why.append(` Taken out: ${redactions.map(kindTitle).join(', ')}.`);
  const handled = button(handled_ms === null ? 'Mark handled' : 'Open again', () => onChange({ handled: handled_ms === null }), { className: 'quiet' });
  const row = create(
    'li',
    { className: handled_ms === null ? '' : 'handled' },
    head,
    reachable(create('blockquote', { text }), `Message ${id}`),
    why,
    create('div', { className: 'row' }, correction(item, labels, onChange), handled),
  );
  if (error !== null) row.append(alertOf(error));
  row.dataset.id = String(id);
  return row;
}

/**
 * What an agent says the message was. Whatever the model said of it: also of what it did not classify.
 *
 * @param {Item} item
 * @param {string[]} labels
 * @param {(change: Change) => void} onChange
 */
function correction({ id, corrected_intent }, labels, onChange) {
  const all = corrected_intent === null || labels.includes(corrected_intent) ? labels : [...labels, corrected_intent];
  const select = create('select', { attributes: { 'aria-label': `Right intent of message ${id}` } });
  select.append(new Option('Right intent?', ''), ...all.map((label) => new Option(intentTitle(label), label)));
  select.value = corrected_intent ?? '';
  select.addEventListener('change', () => onChange({ corrected_intent: select.value || null }));
  return select;
}

/** @param {unknown} error */
function alertOf(error) {
  const box = create('div', { className: 'error small', attributes: { role: 'alert' } });
  showError(box, error);
  box.prepend('Not saved. ');
  return box;
}
