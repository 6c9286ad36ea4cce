/** The second card: type or pick a message and have it classified. */

import { IntentError } from '/pkg/index.js';
import { create, element } from './dom.js';
import { whole } from './format.js';
import { SAMPLES } from './samples.js';

/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */
/** @typedef {import('./result-view.js').ResultView} ResultView */

export class MessagePanel {
  #form = element('form', HTMLFormElement);
  #text = element('text', HTMLTextAreaElement);
  #button = element('classify', HTMLButtonElement);
  #hint = element('hint', HTMLElement);
  #count = element('count', HTMLElement);
  #result;
  #onCrash;
  /** @type {IntentClassifier | null} */
  #classifier = null;
  /** @type {number | null} */
  #limit = null;

  /**
   * @param {ResultView} result
   * @param {() => void} onCrash The classifier is of no further use.
   */
  constructor(result, onCrash) {
    this.#result = result;
    this.#onCrash = onCrash;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#classify();
    });
    this.#text.addEventListener('input', () => this.#showCount());
    this.#text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit(this.#button);
    });
    element('samples', HTMLElement).replaceChildren(...SAMPLES.map((sample) => this.#sampleItem(sample)));
  }

  /**
   * @param {IntentClassifier | null} classifier
   * @param {ModelInfo | null} info
   */
  use(classifier, info) {
    this.#classifier = classifier;
    this.#limit = info?.maxMessageChars ?? null;
    this.#button.disabled = !classifier;
    this.#hint.textContent = classifier ? 'Enter classifies, Shift+Enter starts a new line.' : 'There is no model yet.';
    this.#showCount();
  }

  /** @param {string} sample */
  #sampleItem(sample) {
    const button = create('button', { text: sample });
    button.type = 'button';
    button.addEventListener('click', () => {
      this.#text.value = sample;
      this.#showCount();
      if (this.#classifier) void this.#classify();
    });
    return create('li', {}, button);
  }

  #showCount() {
    // Counted as the engine does: characters, not UTF-16 units, and without the space around.
    const length = Array.from(this.#text.value.trim().normalize('NFC')).length;
    this.#count.textContent = this.#limit === null || length === 0 ? '' : `${whole(length)} of ${whole(this.#limit)}`;
  }

  async #classify() {
    const classifier = this.#classifier;
    if (!classifier) return;
    const text = this.#text.value;
    const done = this.#result.begin();
    try {
      done({ text, result: await classifier.classify(text) });
    } catch (error) {
      done({ error });
      if (error instanceof IntentError && error.code === 'worker_failed' && classifier === this.#classifier) this.#onCrash();
    }
  }
}
