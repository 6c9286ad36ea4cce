/** The bar with the model: choose one, watch it load, abort, replace it. */

import { IntentClassifier, IntentError } from '/pkg/index.js';
import { create, element, showError, showFacts } from '../ui/dom.js';
import { bytes, duration, millions, setting } from '../ui/format.js';
import { badgesOf, reasonOf } from './badges.js';
import { Fetched } from './fetched.js';
import { ModelList } from './model-list.js';
import { RunOn } from './run-on.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').LoadProgress} LoadProgress */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */
/** @typedef {import('./model-list.js').Choice} Choice */

/** @type {Record<LoadProgress['phase'], string>} */
const PHASES = {
  wasm: 'Starting the engine',
  gpu: 'Starting the GPU',
  download: 'Reading the model',
  prepare: 'Preparing the model',
  ready: 'Ready',
};

/** What the cache does meanwhile. */
const CACHE = { waiting: ', another tab is reading it too', reading: ', kept in this browser', writing: '', memory: ', not kept' };

/** What the page starts with. @type {Choice} */
const COMPACT = { name: 'Compact, part of this page' };

export class ModelPanel {
  #file = element('file', HTMLInputElement);
  #abort = element('abort', HTMLButtonElement);
  #change = element('change', HTMLButtonElement);
  #choose = element('model-choose', HTMLElement);
  #error = element('model-error', HTMLElement);
  #status = element('model-status', HTMLElement);
  #bar = element('loading-bar', HTMLProgressElement);
  #phase = element('loading-phase', HTMLElement);
  #bytes = element('loading-bytes', HTMLElement);
  #list = new ModelList((choice) => void this.#load(choice));
  // What is there moves over at once.
  #runOn = new RunOn(() => void (this.#choice && this.#load(this.#choice)));
  #fetched;
  #onReady;
  #onGone;
  /** @type {AbortController | null} */
  #loading = null;
  /** What is loaded, or on its way. @type {Choice | null} */
  #choice = null;
  /** @type {IntentClassifier | null} */
  #classifier = null;
  /** What it ran on last, as far as the page shows, and how long it took to load. */
  #shown = { backend: '', milliseconds: 0 };

  /**
   * @param {object} events
   * @param {(classifier: IntentClassifier, info: ModelInfo) => Promise<void>} events.onReady
   * @param {() => void} events.onGone
   * @param {(bytes: number) => void} events.onFetched How much of the models was fetched so far.
   */
  constructor({ onReady, onGone, onFetched }) {
    this.#fetched = new Fetched(onFetched);
    this.#onReady = onReady;
    this.#onGone = onGone;
    this.#file.addEventListener('change', () => {
      const file = this.#file.files?.[0];
      if (!file) return;
      this.loadFile(file);
      // Cleared, so that choosing the same file again is a change again.
      this.#file.value = '';
    });
    this.#abort.addEventListener('click', () => this.#loading?.abort());
    this.#change.addEventListener('click', () => this.#expand(this.#choose.hidden !== false));
    element('unload', HTMLButtonElement).addEventListener('click', () => {
      this.reset();
      this.#file.focus();
    });
    element('compact', HTMLButtonElement).addEventListener('click', () => void this.#load(COMPACT));
    void this.#load(COMPACT);
  }

  /** @param {File} file A GGUF file. */
  loadFile(file) {
    void this.#list.choiceOf(file).then((choice) => this.#load(choice));
  }

  /** Back to the choice of a model; whatever was loaded is freed. */
  reset() {
    this.#classifier?.dispose();
    [this.#classifier, this.#choice] = [null, null];
    this.#onGone();
    this.#show('choose');
    void this.#list.refresh();
  }

  /**
   * Shows what the model runs on where an answer says that this has changed: a GPU may be lost at any time.
   *
   * @param {ClassifyResult} result
   */
  async answered({ backend, decision }) {
    const [classifier, isGone] = [this.#classifier, decision.reason === 'error:device_lost'];
    if (!classifier || (backend === this.#shown.backend && !isGone)) return;
    const info = await classifier.info().catch(() => null);
    if (info && classifier === this.#classifier) this.#showRunning(info, this.#shown.milliseconds);
  }

  /**
   * Loads a model in place of the one that is there or on its way.
   *
   * @param {Choice} choice
   */
  async #load(choice) {
    const { name, model, second, warning } = choice;
    this.#loading?.abort();
    const hadFocus = this.#choose.contains(document.activeElement);
    this.reset();
    this.#choice = choice;
    showError(this.#error, null);
    this.#begin(name, hadFocus);
    const abort = new AbortController();
    this.#loading = abort;
    this.#fetched.begin(model?.pack instanceof File ? model.pack.size : 0);
    const started = performance.now();
    try {
      const onProgress = (/** @type {LoadProgress} */ progress) => {
        if (this.#loading !== abort) return;
        this.#fetched.add(progress);
        this.#showProgress(progress, model === undefined && second === undefined);
      };
      const { backend } = this.#runOn;
      const classifier = await IntentClassifier.load({ ...model, cascade: second, backend, onProgress, signal: abort.signal });
      const info = await classifier.info();
      if (this.#loading !== abort) {
        classifier.dispose();
        return;
      }
      this.#classifier = classifier;
      await this.#onReady(classifier, info);
      if (this.#loading === abort) this.#showLoaded({ name, warning }, info, performance.now() - started);
    } catch (error) {
      if (this.#loading === abort) this.#failed(error);
    } finally {
      if (this.#loading === abort) this.#loading = null;
    }
  }

  /**
   * @param {string} name
   * @param {boolean} hadFocus Whether somebody chose it.
   */
  #begin(name, hadFocus) {
    element('loading-name', HTMLElement).textContent = name;
    this.#bytes.textContent = '';
    this.#bar.removeAttribute('value');
    this.#phase.textContent = 'Starting';
    this.#show('loading');
    if (hadFocus) this.#abort.focus();
  }

  /** @param {unknown} error */
  #failed(error) {
    const hadFocus = document.activeElement === this.#abort;
    this.reset();
    if (hadFocus) this.#file.focus();
    if (error instanceof IntentError && error.code === 'aborted') this.#status.textContent = 'Loading aborted.';
    else showError(this.#error, error);
  }

  /**
   * @param {LoadProgress} progress
   * @param {boolean} isCompact
   */
  #showProgress({ phase, loaded, total, cache }, isCompact) {
    if (this.#phase.textContent !== PHASES[phase]) {
      this.#phase.textContent = PHASES[phase];
      // Once a phase: a screen reader should not read out every percent.
      this.#status.textContent = PHASES[phase];
    }
    if (phase !== 'download') {
      this.#bar.removeAttribute('value');
      return;
    }
    const note = cache ? CACHE[cache.state] : '';
    this.#bytes.textContent = (total === null ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`) + note;
    if (isCompact && total !== null) element('compact-state', HTMLElement).textContent = `${bytes(total)}, comes with the page`;
    if (total === null) this.#bar.removeAttribute('value');
    else this.#bar.value = total === 0 ? 1 : loaded / total;
  }

  /**
   * @param {Choice} choice
   * @param {ModelInfo} info
   * @param {number} milliseconds
   */
  #showLoaded({ name, warning }, info, milliseconds) {
    const hadFocus = document.activeElement === this.#abort;
    element('loaded-name', HTMLElement).textContent = name;
    this.#showRunning(info, milliseconds);
    const note = info.fallback ? `Another model runs than the one that was asked for: ${info.fallback.message}` : warning;
    element('model-note', HTMLElement).hidden = note === undefined;
    element('model-note', HTMLElement).textContent = note ?? '';
    this.#show('loaded');
    void this.#list.refresh();
    this.#status.textContent = `${name} is ready.`;
    if (hadFocus) this.#change.focus();
  }

  /**
   * @param {ModelInfo} info
   * @param {number} milliseconds
   */
  #showRunning(info, milliseconds) {
    this.#shown = { backend: info.backend, milliseconds };
    const badges = badgesOf(info).map(({ text, on }) => create('li', { text, className: on ? 'badge on' : 'badge' }));
    element('badges', HTMLElement).replaceChildren(...badges);
    element('backend-reason', HTMLElement).textContent = reasonOf(info);
    showFacts(element('loaded-facts', HTMLElement), [
      ['Architecture', info.architecture],
      ['Parameters', millions(info.parameters)],
      ['Weights', bytes(info.weight_bytes)],
      ['Memory', bytes(info.wasmMemoryBytes)],
      ['Backend', info.backend],
      ['Threshold', (info.stages ?? [info]).map(({ threshold }) => setting(threshold)).join(', then ')],
      ['Loaded in', duration(milliseconds)],
    ]);
  }

  /** @param {boolean} open */
  #expand(open) {
    this.#choose.hidden = !open;
    this.#change.setAttribute('aria-expanded', String(open));
    this.#change.textContent = open ? 'Keep this model' : 'Change model';
  }

  /** @param {'choose' | 'loading' | 'loaded'} view */
  #show(view) {
    for (const name of ['loading', 'loaded']) element(`model-${name}`, HTMLElement).hidden = name !== view;
    if (view !== 'loaded') showFacts(element('loaded-facts', HTMLElement), []);
    this.#expand(view === 'choose');
  }
}
