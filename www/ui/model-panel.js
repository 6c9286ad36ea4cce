/** The first card: choose a model, watch it load, abort, replace it. */

import { IntentClassifier, IntentError } from '/pkg/index.js';
import { create, element, showError, showFacts } from './dom.js';
import { bytes, duration, millions, setting } from './format.js';
import { modelUrl, offeredModels } from './server-models.js';

/** @typedef {import('/pkg/index.js').LoadProgress} LoadProgress */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */

/** @type {Record<LoadProgress['phase'], string>} */
const PHASES = {
  wasm: 'Starting the engine',
  gpu: 'Starting the GPU',
  download: 'Reading the model',
  prepare: 'Preparing the model',
  ready: 'Ready',
};

/** What the page starts with. */
const COMPACT = 'Compact, part of this page';

const VIEWS = ['model-choose', 'model-loading', 'model-loaded'].map((id) => element(id, HTMLElement));

export class ModelPanel {
  #file = element('file', HTMLInputElement);
  #abort = element('abort', HTMLButtonElement);
  #unload = element('unload', HTMLButtonElement);
  #error = element('model-error', HTMLElement);
  #status = element('model-status', HTMLElement);
  #bar = element('loading-bar', HTMLProgressElement);
  #phase = element('loading-phase', HTMLElement);
  #bytes = element('loading-bytes', HTMLElement);
  #onReady;
  #onGone;
  /** @type {AbortController | null} */
  #loading = null;
  /** @type {IntentClassifier | null} */
  #classifier = null;

  /**
   * @param {{ onReady: (classifier: IntentClassifier, info: ModelInfo) => void, onGone: () => void }} events
   */
  constructor({ onReady, onGone }) {
    this.#onReady = onReady;
    this.#onGone = onGone;
    this.#file.addEventListener('change', () => {
      const file = this.#file.files?.[0];
      // Cleared, so that choosing the same file again is a change again.
      if (file) void this.#load(file, file.name).finally(() => (this.#file.value = ''));
    });
    this.#abort.addEventListener('click', () => this.#loading?.abort());
    this.#unload.addEventListener('click', () => {
      this.reset();
      this.#file.focus();
    });
    element('compact', HTMLButtonElement).addEventListener('click', () => void this.#load(undefined, COMPACT));
    this.#acceptDrops();
    void this.#load(undefined, COMPACT);
    void this.#listOffered();
  }

  /** Back to the choice of a model; whatever was loaded is freed. */
  reset() {
    this.#classifier?.dispose();
    this.#classifier = null;
    this.#onGone();
    this.#show('model-choose');
  }

  #acceptDrops() {
    const root = document.documentElement;
    const isFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files') ?? false;
    root.addEventListener('dragover', (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      root.classList.add('dragging');
    });
    root.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) root.classList.remove('dragging');
    });
    root.addEventListener('drop', (event) => {
      root.classList.remove('dragging');
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      void this.#load(file, file.name);
    });
  }

  async #listOffered() {
    const models = await offeredModels();
    const items = models.map((model) => {
      const name = create('span', { text: model.file, className: 'name' });
      const button = create('button', {}, name, create('span', { text: bytes(model.bytes), className: 'muted numbers' }));
      button.type = 'button';
      button.addEventListener('click', () => void this.#load(modelUrl(model), model.file));
      return create('li', {}, button);
    });
    element('offered-list', HTMLElement).replaceChildren(...items);
    element('offered', HTMLElement).hidden = items.length === 0;
  }

  /**
   * Loads a model in place of the one that is there or on its way.
   *
   * @param {URL | File | undefined} pack The page's own if omitted.
   * @param {string} name
   */
  async #load(pack, name) {
    this.#loading?.abort();
    this.reset();
    showError(this.#error, null);
    this.#begin(name);
    const abort = new AbortController();
    this.#loading = abort;
    const started = performance.now();
    try {
      const onProgress = (/** @type {LoadProgress} */ progress) => {
        if (this.#loading === abort) this.#showProgress(progress);
      };
      const classifier = await IntentClassifier.load({ pack, onProgress, signal: abort.signal });
      const info = await classifier.info();
      if (this.#loading !== abort) {
        classifier.dispose();
        return;
      }
      this.#classifier = classifier;
      this.#showLoaded(name, info, performance.now() - started);
      this.#onReady(classifier, info);
    } catch (error) {
      if (this.#loading === abort) this.#failed(error);
    } finally {
      if (this.#loading === abort) this.#loading = null;
    }
  }

  /** @param {string} name */
  #begin(name) {
    const hadFocus = VIEWS[0].contains(document.activeElement);
    element('loading-name', HTMLElement).textContent = name;
    this.#bytes.textContent = '';
    this.#bar.removeAttribute('value');
    this.#phase.textContent = 'Starting';
    this.#show('model-loading');
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

  /** @param {LoadProgress} progress */
  #showProgress({ phase, loaded, total }) {
    if (this.#phase.textContent !== PHASES[phase]) {
      this.#phase.textContent = PHASES[phase];
      // Once a phase: a screen reader should not read out every percent.
      this.#status.textContent = PHASES[phase];
    }
    if (phase !== 'download') {
      this.#bar.removeAttribute('value');
      return;
    }
    this.#bytes.textContent = total === null ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`;
    if (total === null) this.#bar.removeAttribute('value');
    else this.#bar.value = total === 0 ? 1 : loaded / total;
  }

  /**
   * @param {string} name
   * @param {ModelInfo} info
   * @param {number} milliseconds
   */
  #showLoaded(name, info, milliseconds) {
    const hadFocus = document.activeElement === this.#abort;
    element('loaded-name', HTMLElement).textContent = name;
    showFacts(element('loaded-facts', HTMLElement), [
      ['Architecture', info.architecture],
      ['Parameters', millions(info.parameters)],
      ['Weights', bytes(info.weight_bytes)],
      ['Memory', bytes(info.wasmMemoryBytes)],
      ['Runs on', `${info.backend}, ${info.threads} ${info.threads === 1 ? 'thread' : 'threads'}${info.reason === null ? '' : ` (${info.reason})`}`],
      ['Threshold', setting(info.threshold)],
      ['Loaded in', duration(milliseconds)],
    ]);
    this.#show('model-loaded');
    this.#status.textContent = `${name} is ready.`;
    if (hadFocus) element('text', HTMLElement).focus();
  }

  /** @param {string} id */
  #show(id) {
    for (const view of VIEWS) view.hidden = view.id !== id;
  }
}
