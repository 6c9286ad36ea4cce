/** The agent's side: the latest answer, while the customer types and once the message is sent. */

import { create, element, showError, showFacts } from '../ui/dom.js';
import { duration, percent, setting } from '../ui/format.js';
import { intentTitle, reasonSentence, routeTitle } from '../ui/words.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {{ text: string, result: ClassifyResult }} Answer */

/** How long an answer may take before the card says that it is waiting, in milliseconds. */
const WAIT_MS = 300;

/** How long the customer must pause before a screen reader hears what is made of the text so far, in milliseconds. */
const QUIET_MS = 1_000;

/** Whether the customer is still writing. @typedef {'typing' | 'sent'} Phase */

/** @type {Record<Phase, string>} */
const PHASES = { typing: 'While typing', sent: 'Sent' };

export class ResultView {
  #box = element('result', HTMLElement);
  #empty = element('result-empty', HTMLElement);
  #error = element('result-error', HTMLElement);
  #phase = element('result-phase', HTMLElement);
  #status = element('result-status', HTMLElement);
  #latest = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #announcing;

  /**
   * Announces that an answer is on its way.
   *
   * @returns {(outcome: Answer | { error: unknown }) => void} Shows the outcome, unless a later one was begun meanwhile.
   */
  begin() {
    const mine = ++this.#latest;
    const timer = setTimeout(() => {
      if (mine === this.#latest) this.#box.setAttribute('aria-busy', 'true');
    }, WAIT_MS);
    return (outcome) => {
      clearTimeout(timer);
      if (mine !== this.#latest) return;
      this.#box.removeAttribute('aria-busy');
      if ('error' in outcome) this.fail(outcome.error);
      else this.show(outcome, 'sent');
    };
  }

  /** @param {unknown} error */
  fail(error) {
    this.#empty.hidden = true;
    this.#box.hidden = true;
    this.#phase.hidden = true;
    this.#status.textContent = '';
    showError(this.#error, error);
  }

  /**
   * @param {Answer} answer
   * @param {Phase} phase
   */
  show({ text, result }, phase) {
    const { intent, json, confidence, probabilities, decision } = result;
    const set = (/** @type {string} */ id, /** @type {string} */ value) => (element(id, HTMLElement).textContent = value);
    showError(this.#error, null);
    this.#empty.hidden = true;
    this.#box.hidden = false;
    this.#phase.hidden = false;
    this.#phase.textContent = PHASES[phase];
    this.#box.dataset.phase = phase;
    set('result-text', text);
    set('intent', intentTitle(intent));
    set('confidence', confidence === null ? '' : percent(confidence));
    set('route', routeTitle(decision.route));
    set('reason', reasonSentence(decision.reason));
    element('decision', HTMLElement).className = `decision ${decision.route === 'local' ? 'local' : 'escalate'}`;
    set('json', json);
    this.#showBars(intent, probabilities);
    this.#showStages(result);
    this.#showFigures(result);
    this.#announce(result, phase);
  }

  /** @param {ClassifyResult} result */
  #showFigures({ margin, decision, stage, backend, threads, ms }) {
    showFacts(element('result-facts', HTMLElement), [
      ['Margin', margin === null ? 'none' : percent(margin)],
      ['Reason code', decision.reason],
      ['Stage', stage],
      ['Backend', backend],
      ['Threads', String(threads)],
      ['Time', duration(ms)],
    ]);
  }

  /** @param {ClassifyResult} result */
  #showStages({ stages }) {
    const list = element('stages', HTMLElement);
    list.hidden = !stages;
    const rows = (stages ?? []).map(({ stage, intent, confidence, threshold, ms }) => {
      const sure = confidence === null ? 'no answer' : `${percent(confidence)}, needs ${percent(Number(setting(threshold)))}`;
      return create('li', {}, create('strong', { text: stage }), ` ${intentTitle(intent)}, ${sure}, ${duration(ms)}`);
    });
    list.replaceChildren(...rows);
  }

  /**
   * @param {ClassifyResult} result
   * @param {Phase} phase
   */
  #announce({ intent, confidence, decision }, phase) {
    clearTimeout(this.#announcing);
    const sure = confidence === null ? '' : `, ${percent(confidence)}`;
    const say = () => (this.#status.textContent = `${intentTitle(intent)}${sure}. ${routeTitle(decision.route)}.`);
    if (phase === 'sent') say();
    else this.#announcing = setTimeout(say, QUIET_MS);
  }

  /**
   * @param {string} intent
   * @param {Record<string, number> | null} probabilities
   */
  #showBars(intent, probabilities) {
    element('probabilities', HTMLElement).hidden = probabilities === null;
    const rows = Object.entries(probabilities ?? {}).map(([label, share]) => {
      const fill = create('div', { className: 'fill' });
      fill.style.setProperty('--share', String(share));
      const track = create('td', { attributes: { 'aria-hidden': 'true' } }, create('div', { className: 'track' }, fill));
      const name = create('th', { text: label, attributes: { scope: 'row' } });
      const row = create('tr', { className: label === intent ? 'best' : '' }, name, track, create('td', { text: percent(share) }));
      row.dataset.share = String(share);
      return row;
    });
    element('bars', HTMLElement).replaceChildren(...rows);
  }
}
