/** The third card: the latest answer. */

import { create, element, showError, showFacts } from './dom.js';
import { duration, percent } from './format.js';
import { intentTitle, reasonSentence, routeTitle } from './words.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

/** How long an answer may take before the card says that it is waiting, in milliseconds. */
const WAIT_MS = 300;

export class ResultView {
  #card = element('result-card', HTMLElement);
  #box = element('result', HTMLElement);
  #empty = element('result-empty', HTMLElement);
  #error = element('result-error', HTMLElement);
  #status = element('result-status', HTMLElement);
  #latest = 0;

  /**
   * Announces that an answer is on its way.
   *
   * @returns {(outcome: { text: string, result: ClassifyResult } | { error: unknown }) => void}
   *   Shows the outcome, unless a later one was begun meanwhile.
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
      this.#empty.hidden = true;
      const failed = 'error' in outcome;
      showError(this.#error, failed ? outcome.error : null);
      this.#box.hidden = failed;
      if (failed) this.#status.textContent = '';
      else this.#show(outcome.text, outcome.result);
      // On a phone the card lies below the fold; where it is in view already, this does nothing.
      this.#card.scrollIntoView({ block: 'nearest' });
    };
  }

  /**
   * @param {string} text
   * @param {ClassifyResult} result
   */
  #show(text, result) {
    const { intent, json, confidence, margin, probabilities, decision } = result;
    const set = (/** @type {string} */ id, /** @type {string} */ value) => (element(id, HTMLElement).textContent = value);
    set('result-text', text);
    set('intent', intentTitle(intent));
    set('route', routeTitle(decision.route));
    set('reason', reasonSentence(decision.reason));
    element('decision', HTMLElement).className = `decision ${decision.route === 'local' ? 'local' : 'escalate'}`;
    set('json', json);
    this.#showBars(intent, probabilities);
    showFacts(element('result-facts', HTMLElement), [
      ['Confidence', confidence === null ? 'none' : percent(confidence)],
      ['Margin', margin === null ? 'none' : percent(margin)],
      ['Reason code', decision.reason],
      ['Stage', result.stage],
      ['Backend', result.backend],
      ['Threads', String(result.threads)],
      ['Time', duration(result.ms)],
    ]);
    const sure = confidence === null ? '' : `, ${percent(confidence)}`;
    this.#status.textContent = `${intentTitle(intent)}${sure}. ${routeTitle(decision.route)}.`;
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
      const track = create('td', {}, create('div', { className: 'track' }, fill));
      track.setAttribute('aria-hidden', 'true');
      const name = create('th', { text: label });
      name.scope = 'row';
      const row = create('tr', { className: label === intent ? 'best' : '' }, name, track, create('td', { text: percent(share) }));
      row.dataset.share = String(share);
      return row;
    });
    element('bars', HTMLElement).replaceChildren(...rows);
  }
}
