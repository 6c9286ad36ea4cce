/**
 * What the element shows and says.
 *
 * @module
 */

import { styleSheet } from './style.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */

/** Wait after the last change before it is spoken, in milliseconds: a pause in typing, not every word. */
const SPEAK_AFTER_MS = 1200;

const ROUTES = { local: 'answer here', escalate: 'hand to a person' };

export class ElementView {
  /** @type {Record<'answer' | 'intent' | 'confidence' | 'route' | 'toggle' | 'details' | 'note' | 'status', HTMLElement>} */
  #parts;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #speaking;
  #spoken = '';

  /** @param {HTMLElement} host */
  constructor(host) {
    const root = host.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [styleSheet()];
    const make = (/** @type {string} */ tag, /** @type {string} */ part) => {
      const element = host.ownerDocument.createElement(tag);
      element.setAttribute('part', part);
      return element;
    };
    const answer = make('div', 'answer');
    const [intent, confidence, route] = ['intent', 'confidence', 'route'].map((part) => make('span', part));
    const toggle = make('button', 'toggle');
    const details = make('dl', 'details');
    const note = make('span', 'note');
    const status = make('div', 'status');
    status.setAttribute('role', 'status');
    status.setAttribute('aria-live', 'polite');
    toggle.setAttribute('type', 'button');
    toggle.textContent = 'All intents';
    toggle.addEventListener('click', () => this.#open(details.hidden !== false));
    details.addEventListener('keydown', (event) => this.#onKey(event));
    toggle.addEventListener('keydown', (event) => this.#onKey(event));
    answer.append(intent, confidence, route, toggle);
    root.append(answer, details, note, status);
    this.#parts = { answer, intent, confidence, route, toggle, details, note, status };
    this.#open(false);
    this.clear();
  }

  loading() {
    this.#note('The model is loading.');
  }

  ready() {
    this.#note('');
  }

  /** @param {string} message */
  failed(message) {
    this.#parts.answer.hidden = true;
    this.#open(false);
    this.#note(message);
    this.#speak(message);
  }

  /** @param {ClassifyResult} result */
  show({ intent, confidence, probabilities, decision }) {
    const parts = this.#parts;
    parts.intent.textContent = words(intent);
    parts.confidence.textContent = confidence === null ? '' : percent(confidence);
    parts.route.textContent = ROUTES[decision.route];
    parts.route.setAttribute('part', `route route-${decision.route}`);
    parts.route.title = decision.reason;
    parts.toggle.hidden = probabilities === null;
    if (probabilities === null) this.#open(false);
    parts.details.replaceChildren(...rows(probabilities ?? {}, parts.details.ownerDocument));
    parts.answer.hidden = false;
    this.#note('');
    this.#speak(`${words(intent)}: ${ROUTES[decision.route]}`);
  }

  clear() {
    this.#parts.answer.hidden = true;
    this.#open(false);
    this.quiet();
    this.#spoken = '';
    this.#parts.status.textContent = '';
  }

  /** Says nothing more of what is waiting to be said. */
  quiet() {
    clearTimeout(this.#speaking);
  }

  /** @param {boolean} open */
  #open(open) {
    this.#parts.details.hidden = !open;
    this.#parts.toggle.setAttribute('aria-expanded', String(open));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key !== 'Escape' || this.#parts.details.hidden) return;
    event.stopPropagation();
    this.#open(false);
  }

  /** @param {string} text */
  #note(text) {
    this.#parts.note.textContent = text;
    this.#parts.note.hidden = text === '';
  }

  /**
   * After a pause, and only what has changed: neither letters nor percentages are read out.
   *
   * @param {string} text
   */
  #speak(text) {
    this.quiet();
    if (text === this.#spoken) return;
    this.#speaking = setTimeout(() => {
      this.#spoken = text;
      this.#parts.status.textContent = text;
    }, SPEAK_AFTER_MS);
  }
}

/**
 * @param {Record<string, number>} probabilities
 * @param {Document} document
 * @returns {HTMLElement[]} The likeliest first.
 */
function rows(probabilities, document) {
  const sorted = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return sorted.flatMap(([label, share]) => {
    const [term, value] = ['dt', 'dd'].map((tag) => document.createElement(tag));
    term.textContent = words(label);
    value.textContent = percent(share);
    return [term, value];
  });
}

/** @param {string} label */
function words(label) {
  return label.replaceAll('_', ' ');
}

/** @param {number} share From 0 to 1. */
function percent(share) {
  return `${Math.round(share * 100)} %`;
}
