/** The three pictures of an evaluation, each with its numbers as a table. */

import { numbersOf, plot } from '../charts/plot.js';
import { draw } from '../charts/svg.js';
import { create } from '../ui/dom.js';
import { counted, percent, whole } from '../ui/format.js';
import { intentTitle } from '../ui/words.js';

/** @typedef {ReturnType<typeof import('./figures.js').confusionOf>} Confusion */
/** @typedef {ReturnType<typeof import('./figures.js').reliabilityOf>} Reliability */
/** @typedef {ReturnType<typeof import('./figures.js').riskCoverageOf>} RiskCoverage */

/** Points of the risk-coverage curve that the table lists. */
const LISTED = 20;

/**
 * @param {Confusion} confusion
 * @param {string[]} labels
 */
export function confusionTable({ counts, failed }, labels) {
  const most = Math.max(1, ...counts.flat());
  const cell = (/** @type {number} */ count, /** @type {boolean} */ right) => {
    const made = create('td', { text: whole(count), className: count === 0 ? 'zero' : right ? 'right' : 'wrong' });
    // The root, so that single errors are seen beside a hundred right answers.
    made.style.setProperty('--heat', String(Math.sqrt(count / most)));
    return made;
  };
  const rows = counts.map((row, gold) => {
    const cells = row.map((count, predicted) => cell(count, gold === predicted));
    return create('tr', {}, create('th', { text: intentTitle(labels[gold]), attributes: { scope: 'row' } }), ...cells);
  });
  const heads = labels.map((label) => create('th', { text: intentTitle(label), attributes: { scope: 'col' } }));
  const none = failed.reduce((sum, count) => sum + count, 0);
  const table = create(
    'table',
    { className: 'confusion' },
    create('caption', { text: `Rows are right labels, columns the model’s.${none === 0 ? '' : ` It failed on ${counted(none, 'message')}.`}` }),
    create('thead', {}, create('tr', {}, create('td'), ...heads)),
    create('tbody', {}, ...rows),
  );
  const scroll = create('div', { className: 'scroll', attributes: { tabindex: '0', role: 'group', 'aria-label': 'Confusion matrix' } }, table);
  return create('figure', { className: 'wide' }, create('figcaption', { text: 'Confusion matrix' }), scroll);
}

/**
 * @param {Reliability} bins
 * @param {number | null} ece
 */
export function reliabilityPicture(bins, ece) {
  const full = bins.filter(({ n }) => n > 0);
  const most = Math.max(1, ...bins.map(({ n }) => n));
  const label = `Reliability diagram: share of right answers against confidence, in ${bins.length} bins. Expected calibration error ${ece === null ? 'unknown' : ece.toFixed(3)}. The numbers stand in the table below.`;
  const { svg, x, y } = plot({ label, className: 'reliability', x: { title: 'confidence', max: 1 }, y: { title: 'right answers', max: 1 } });
  for (const { low, high, accuracy, n } of full) {
    const rect = draw('rect', { x: x(low) + 1, width: x(high) - x(low) - 2, y: y(accuracy), height: y(0) - y(accuracy), class: 'bin' });
    // Few messages say little: such a bin is drawn faintly.
    rect.style.setProperty('--weight', String(0.25 + 0.75 * Math.sqrt(n / most)));
    svg.append(rect);
  }
  svg.append(draw('line', { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: 'ideal' }));
  for (const { confidence, accuracy } of full) svg.append(draw('circle', { cx: x(confidence), cy: y(accuracy), r: 3.5, class: 'mean' }));
  const numbers = full.map(({ low, high, n, confidence, accuracy }) => [`${percent(low)} to ${percent(high)}`, whole(n), percent(confidence), percent(accuracy)]);
  return create(
    'figure',
    {},
    create('figcaption', { text: 'Reliability' }),
    create('p', { className: 'small muted', text: 'On the line, a confidence of 80 % is right eight times in ten. Faint bars stand for few messages.' }),
    svg,
    numbersOf('Reliability by bin', ['Confidence', 'Messages', 'Mean confidence', 'Right'], numbers),
  );
}

/**
 * @param {RiskCoverage} riskCoverage
 * @returns {{ figure: HTMLElement, mark: (threshold: number) => void }} `mark` shows where a threshold lies.
 */
export function riskCoveragePicture({ curve, aurc }) {
  const most = Math.max(0.05, ...curve.map(({ risk }) => risk));
  // Four steps of whole percents.
  const max = Math.ceil(most * 25) / 25;
  const label = `Risk-coverage curve: share of wrong answers among the most confident ones, against how many these are. Area under the curve ${aurc.toFixed(3)}. The numbers stand in the table below.`;
  const { svg, x, y } = plot({ label, className: 'risk', x: { title: 'coverage by confidence', max: 1 }, y: { title: 'wrong answers', max } });
  const points = curve.map(({ coverage, risk }) => `${x(coverage).toFixed(1)},${y(risk).toFixed(1)}`).join(' ');
  const line = draw('line', { y1: y(0), y2: y(max), class: 'threshold' });
  const dot = draw('circle', { r: 5, class: 'threshold' });
  svg.append(draw('polyline', { points, class: 'curve' }), line, dot);
  const mark = (/** @type {number} */ threshold) => {
    const kept = curve[curve.filter(({ confidence }) => confidence >= Math.fround(threshold)).length - 1];
    const [coverage, risk] = kept ? [kept.coverage, kept.risk] : [0, 0];
    for (const name of ['x1', 'x2']) line.setAttribute(name, String(x(coverage)));
    dot.setAttribute('cx', String(x(coverage)));
    dot.setAttribute('cy', String(y(risk)));
  };
  const step = Math.max(1, Math.round(curve.length / LISTED));
  const listed = curve.filter((_, index) => (index + 1) % step === 0 || index === curve.length - 1);
  const numbers = listed.map(({ coverage, risk, confidence }) => [percent(coverage), percent(risk), percent(confidence)]);
  const figure = create(
    'figure',
    {},
    create('figcaption', { text: 'Risk and coverage' }),
    create('p', { className: 'small muted', text: 'How many of the most confident answers are wrong. The mark is the threshold; the gate also hands over what the policy says.' }),
    svg,
    numbersOf('Risk by coverage', ['Coverage', 'Wrong', 'Least confidence'], numbers),
  );
  return { figure, mark };
}
