/** The customer's side: type or pick a conversation, and have it classified while it is typed. */

import { IntentError } from '/pkg/index.js';
import { button, create, element } from '../ui/dom.js';
import { percent, whole } from '../ui/format.js';
import { intentTitle, routeTitle } from '../ui/words.js';
import { Player } from './player.js';
import { SAMPLES } from './samples.js';
import { Typing } from './typing.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */
/** @typedef {import('./result-view.js').ResultView} ResultView */

export class ChatPanel {
  #form = element('form', HTMLFormElement);
  #text = element('text', HTMLTextAreaElement);
  #send = element('classify', HTMLButtonElement);
  #hint = element('hint', HTMLElement);
  #count = element('count', HTMLElement);
  #pill = element('pill', HTMLElement);
  #stop = button('Stop', () => this.#player.stop(), { className: 'stop' });
  #typing = new Typing({
    onResult: (text, result) => this.#showTyping(text, result),
    onError: (error) => (this.#result.fail(error), this.#failed(error)),
  });
  #player = new Player(
    { type: (text) => this.#write(text), send: () => this.#submit() },
    (playing) => (this.#stop.hidden = !playing),
  );
  #result;
  #onSent;
  #onAnswer;
  #onCrash;
  /** @type {IntentClassifier | null} */
  #classifier = null;
  /** @type {number | null} */
  #limit = null;

  /**
   * @param {ResultView} result
   * @param {object} events
   * @param {(text: string, result: ClassifyResult) => void} events.onSent
   * @param {(result: ClassifyResult) => void} events.onAnswer Also while it is typed.
   * @param {() => void} events.onCrash The classifier is of no further use.
   */
  constructor(result, { onSent, onAnswer, onCrash }) {
    this.#result = result;
    this.#onSent = onSent;
    this.#onAnswer = onAnswer;
    this.#onCrash = onCrash;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#player.stop();
      void this.#submit();
    });
    // Who comes to the field wants to write, not to watch.
    this.#text.addEventListener('focus', () => this.#player.stop());
    this.#text.addEventListener('input', () => this.#changed());
    this.#text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit(this.#send);
    });
    this.#stop.hidden = true;
    const samples = SAMPLES.map(({ title, messages }) => {
      return create('li', {}, button(title, () => void (this.#classifier && this.#player.play(messages)), { className: 'sample' }));
    });
    element('samples', HTMLElement).replaceChildren(...samples, create('li', {}, this.#stop));
  }

  /**
   * @param {IntentClassifier | null} classifier
   * @param {ModelInfo | null} info
   */
  use(classifier, info) {
    this.#player.stop();
    this.#classifier = classifier;
    this.#limit = info?.maxMessageChars ?? null;
    this.#typing.use(classifier);
    this.#send.disabled = !classifier;
    for (const sample of document.querySelectorAll('.sample')) /** @type {HTMLButtonElement} */ (sample).disabled = !classifier;
    this.#hint.textContent = classifier ? 'Enter sends.' : 'There is no model yet.';
    this.#changed();
  }

  /** @param {string} text */
  #write(text) {
    this.#text.value = text;
    this.#text.scrollTop = this.#text.scrollHeight;
    this.#changed();
  }

  #changed() {
    const text = this.#text.value;
    // Counted as the engine does: characters, not UTF-16 units, and without the space around.
    const length = Array.from(text.trim().normalize('NFC')).length;
    this.#count.textContent = this.#limit === null || length === 0 ? '' : `${whole(length)} of ${whole(this.#limit)}`;
    if (length === 0) this.#pill.hidden = true;
    this.#typing.update(text);
  }

  /**
   * @param {string} text
   * @param {ClassifyResult} result
   */
  #showTyping(text, result) {
    const { intent, confidence, decision } = result;
    this.#pill.hidden = false;
    this.#pill.className = `pill ${decision.route}`;
    this.#pill.textContent = `${intentTitle(intent)}${confidence === null ? '' : ` ${percent(confidence)}`}: ${routeTitle(decision.route)}`;
    this.#result.show({ text, result }, 'typing');
    this.#onAnswer(result);
  }

  async #submit() {
    const classifier = this.#classifier;
    if (!classifier) return;
    const text = this.#text.value;
    this.#text.value = '';
    const done = this.#result.begin();
    const answer = this.#typing.submit(text);
    this.#changed();
    try {
      const result = await answer;
      this.#onSent(text, result);
      done({ text, result });
      this.#onAnswer(result);
    } catch (error) {
      done({ error });
      this.#failed(error, classifier);
      // What was written is not lost, unless something else is being written.
      if (this.#text.value === '') this.#write(text);
    }
  }

  /**
   * @param {unknown} error
   * @param {IntentClassifier | null} [classifier] The one that was asked.
   */
  #failed(error, classifier = this.#classifier) {
    const crashed = error instanceof IntentError && error.code === 'worker_failed';
    if (crashed && classifier === this.#classifier) this.#onCrash();
  }
}
