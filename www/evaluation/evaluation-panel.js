/** The tab that runs the project’s adversarial set in this browser. */

import { IntentError } from '/pkg/index.js';
import { classifyEach } from '../ui/classify-each.js';
import { create, element, showError, showFacts } from '../ui/dom.js';
import { duration, percent, setting, whole } from '../ui/format.js';
import { confusionOf, eceOf, gateFigures, outcomeAt, readingOf, reliabilityOf, riskCoverageOf } from './figures.js';
import { confusionTable, reliabilityPicture, riskCoveragePicture } from './pictures.js';
import { loadSet } from './set.js';

/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */
/** @typedef {import('./figures.js').Reading} Reading */

/** A model that can be asked, and what it says of itself. @typedef {{ classifier: IntentClassifier, info: ModelInfo }} Loaded */

export class EvaluationPanel {
  #run = element('evaluation-run', HTMLButtonElement);
  #cancel = element('evaluation-cancel', HTMLButtonElement);
  #bar = element('evaluation-bar', HTMLProgressElement);
  #status = element('evaluation-status', HTMLElement);
  #error = element('evaluation-error', HTMLElement);
  #results = element('evaluation-results', HTMLElement);
  #sliders = element('evaluation-sliders', HTMLElement);
  /** @type {Loaded | null} */
  #loaded = null;
  /** @type {AbortController | null} */
  #running = null;

  constructor() {
    this.#run.addEventListener('click', () => void this.#start());
    this.#cancel.addEventListener('click', () => this.#running?.abort());
  }

  /**
   * @param {IntentClassifier | null} classifier
   * @param {ModelInfo | null} info
   */
  use(classifier, info) {
    this.#loaded = classifier && info ? { classifier, info } : null;
    this.#ready();
  }

  #ready() {
    const running = this.#running !== null;
    this.#run.disabled = !this.#loaded || running;
    this.#cancel.hidden = !running;
    for (const id of ['evaluation-bar', 'evaluation-progress']) element(id, HTMLElement).hidden = !running;
  }

  async #start() {
    const loaded = this.#loaded;
    if (!loaded) return;
    const abort = new AbortController();
    this.#running = abort;
    this.#ready();
    showError(this.#error, null);
    this.#results.hidden = true;
    this.#cancel.focus();
    const started = performance.now();
    try {
      const readings = await this.#read(loaded, abort.signal);
      const used = (loaded.info.stages ?? [loaded.info]).map(({ stage }) => stage).join(', then ');
      this.#status.textContent = `${whole(readings.length)} messages by ${used} in ${duration(performance.now() - started)}, in this browser.`;
      this.#show(readings, loaded.info);
    } catch (error) {
      const quiet = abort.signal.aborted || (error instanceof IntentError && error.code === 'disposed');
      this.#status.textContent = 'Stopped.';
      if (!quiet) showError(this.#error, error);
    } finally {
      this.#running = null;
      this.#ready();
    }
  }

  /**
   * @param {Loaded} loaded
   * @param {AbortSignal} signal
   * @returns {Promise<Reading[]>}
   */
  async #read({ classifier, info }, signal) {
    this.#status.textContent = 'Classifying the set.';
    element('evaluation-progress', HTMLElement).textContent = '';
    this.#bar.removeAttribute('value');
    const set = await loadSet();
    const foreign = set.find(({ intent }) => !info.labels.includes(intent));
    if (foreign) throw new Error(`this model has other labels than the set: ${foreign.intent} is not among them`);
    const texts = set.map(({ text }) => text);
    const onProgress = (/** @type {number} */ done) => {
      this.#bar.value = done / texts.length;
      element('evaluation-progress', HTMLElement).textContent = `${whole(done)} of ${whole(texts.length)} messages`;
    };
    // So that every stage is asked, and any threshold can be looked at afterwards.
    const options = { signal, threshold: 1, onProgress, onOutcomes: () => undefined };
    const outcomes = await classifyEach(classifier, texts, options);
    return outcomes.map((outcome, index) => {
      const { text, intent } = set[index];
      if ('error' in outcome) throw new Error(`message ${index + 1} could not be classified: ${outcome.error}`);
      return readingOf(text, intent, outcome.result);
    });
  }

  /**
   * @param {Reading[]} readings
   * @param {ModelInfo} info
   */
  #show(readings, info) {
    const stages = info.stages ?? [info];
    const thresholds = stages.map(({ threshold }) => Number(setting(threshold)));
    const outcomes = readings.map((reading) => outcomeAt(reading, thresholds));
    const risk = riskCoveragePicture(riskCoverageOf(outcomes));
    const bins = reliabilityOf(outcomes);
    const [confusion, ece] = [confusionOf(outcomes, info.labels), eceOf(bins)];
    showFacts(element('evaluation-facts', HTMLElement), [
      ['messages', whole(outcomes.length)],
      ['accuracy', rateWords(confusion.accuracy)],
      ['macro-F1', percent(confusion.macroF1)],
      ['calibration error', ece === null ? 'none' : ece.toFixed(3)],
    ]);
    element('evaluation-pictures', HTMLElement).replaceChildren(confusionTable(confusion, info.labels), reliabilityPicture(bins, ece), risk.figure);
    const show = () => {
      this.#showGate(readings, thresholds, info.always_escalate);
      risk.mark(thresholds[thresholds.length - 1]);
    };
    const sliders = stages.map(({ stage }, index) => slider(stage, thresholds[index], (value) => {
      thresholds[index] = value;
      show();
    }));
    this.#sliders.replaceChildren(...sliders);
    show();
    this.#results.hidden = false;
    element('evaluation-title', HTMLElement).focus();
  }

  /**
   * @param {Reading[]} readings
   * @param {number[]} thresholds
   * @param {string[]} alwaysEscalate
   */
  #showGate(readings, thresholds, alwaysEscalate) {
    const outcomes = readings.map((reading) => outcomeAt(reading, thresholds));
    const figures = gateFigures(outcomes, alwaysEscalate);
    const set = (/** @type {string} */ id, /** @type {number | null} */ value, /** @type {string} */ counts) => {
      const shown = element(id, HTMLElement);
      shown.dataset.value = value === null ? '' : String(value);
      shown.replaceChildren(create('strong', { text: rateWords(value) }), create('span', { className: 'small muted', text: counts }));
    };
    const right = Math.round((figures.selectiveAccuracy ?? 0) * figures.local);
    set('gate-coverage', figures.coverage, `${whole(figures.local)} of ${whole(figures.n)} stay on the device`);
    set('gate-accuracy', figures.selectiveAccuracy, `${whole(right)} of these ${whole(figures.local)} have the right intent`);
    set('gate-unsafe', figures.unsafeLocalRate, `${whole(figures.unsafeLocal)} of ${whole(figures.mustEscalate)} that must go to a person stay`);
    for (const input of this.#sliders.querySelectorAll('input')) {
      const text = `${input.value}: coverage ${rateWords(figures.coverage)}, selective accuracy ${rateWords(figures.selectiveAccuracy)}, unsafe-local rate ${rateWords(figures.unsafeLocalRate)}`;
      input.setAttribute('aria-valuetext', text);
    }
  }
}

/** @param {number | null} value */
function rateWords(value) {
  return value === null ? 'none' : percent(value);
}

/**
 * @param {string} stage
 * @param {number} value
 * @param {(value: number) => void} onChange
 */
function slider(stage, value, onChange) {
  const input = create('input', { id: `threshold-${stage}`, attributes: { type: 'range', min: '0', max: '1', step: '0.005' } });
  const shown = create('output', { text: value.toFixed(3), className: 'numbers', attributes: { for: input.id } });
  input.value = String(value);
  input.addEventListener('input', () => {
    shown.textContent = Number(input.value).toFixed(3);
    onChange(Number(input.value));
  });
  const label = create('label', { attributes: { for: input.id } }, 'Threshold of ', create('strong', { text: stage }));
  return create('div', { className: 'slider' }, label, input, shown);
}
