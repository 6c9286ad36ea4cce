/** The tab for files: choose one, choose its column, classify every row, look at the results, take them along. */

import { IntentError } from '/pkg/index.js';
import { barTable } from '../charts/bars.js';
import { histogram } from '../charts/histogram.js';
import { classifyEach } from '../ui/classify-each.js';
import { element, showError, showFacts } from '../ui/dom.js';
import { download } from '../ui/download.js';
import { counted, duration, percent, roughly, whole } from '../ui/format.js';
import { intentTitle, reasonTitle, routeTitle } from '../ui/words.js';
import { rowOf, tallied, toCsv, toJsonl } from './records.js';
import { ResultTable } from './result-table.js';
import { likelyColumn, readRows } from './rows.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('./records.js').Row} Row */
/** @typedef {import('./rows.js').Rows} Rows */

/** How often charts and table follow while rows are classified, in milliseconds. */
const REFRESH_MS = 700;

/** Messages to try without a file of one's own. */
const EXAMPLE = { url: 'data/adversarial.jsonl', name: 'adversarial.jsonl' };

export class BatchPanel {
  #file = element('batch-file', HTMLInputElement);
  #header = element('batch-header', HTMLInputElement);
  #column = element('batch-column', HTMLSelectElement);
  #run = element('batch-run', HTMLButtonElement);
  #cancel = element('batch-cancel', HTMLButtonElement);
  #bar = element('batch-bar', HTMLProgressElement);
  #status = element('batch-status', HTMLElement);
  #error = element('batch-error', HTMLElement);
  #table = new ResultTable();
  #onAnswer;
  /** @type {IntentClassifier | null} */
  #classifier = null;
  /** The file as it was given, to be read again with another heading. @type {File | null} */
  #source = null;
  /** @type {Rows | null} */
  #given = null;
  /** @type {Row[]} */
  #rows = [];
  /** @type {AbortController | null} */
  #running = null;

  /** @param {(result: ClassifyResult) => void} onAnswer Not of each: of the last of some rows. */
  constructor(onAnswer) {
    this.#onAnswer = onAnswer;
    this.#file.addEventListener('change', () => {
      const file = this.#file.files?.[0];
      if (!file) return;
      void this.read(file);
      this.#file.value = '';
    });
    this.#header.addEventListener('change', () => void (this.#source && this.read(this.#source)));
    this.#column.addEventListener('change', () => this.#preview());
    this.#run.addEventListener('click', () => void this.#classify());
    this.#cancel.addEventListener('click', () => this.#running?.abort());
    element('batch-example', HTMLButtonElement).addEventListener('click', () => void this.#readExample());
    element('batch-csv', HTMLButtonElement).addEventListener('click', () => this.#export(toCsv, 'csv'));
    element('batch-jsonl', HTMLButtonElement).addEventListener('click', () => this.#export(toJsonl, 'jsonl'));
  }

  /** @param {IntentClassifier | null} classifier */
  use(classifier) {
    this.#classifier = classifier;
    this.#ready();
  }

  /** @param {File} file CSV with commas, semicolons or tabs, or JSON lines. */
  async read(file) {
    this.#running?.abort();
    showError(this.#error, null);
    this.#source = file;
    this.#given = null;
    this.#status.textContent = `Reading ${file.name}.`;
    try {
      const given = await readRows(file, this.#header.checked);
      if (this.#source === file) this.#show(given);
    } catch (error) {
      if (this.#source !== file) return;
      this.#status.textContent = '';
      showError(this.#error, error);
    }
    this.#ready();
  }

  async #readExample() {
    try {
      const response = await fetch(EXAMPLE.url);
      if (!response.ok) throw new Error(`the example is not there (HTTP ${response.status})`);
      await this.read(new File([await response.blob()], EXAMPLE.name));
    } catch (error) {
      showError(this.#error, error);
    }
  }

  /** @param {Rows} given */
  #show(given) {
    this.#given = given;
    const { name, columns, rows } = given;
    this.#column.replaceChildren(...columns.map((column, index) => new Option(column, String(index))));
    this.#column.value = String(likelyColumn(given));
    element('batch-setup', HTMLElement).hidden = false;
    element('batch-results', HTMLElement).hidden = true;
    element('batch-name', HTMLElement).textContent = name;
    element('batch-size', HTMLElement).textContent = `${counted(rows.length, 'row')}, ${counted(columns.length, 'column')}`;
    element('batch-header-box', HTMLElement).hidden = /\.(jsonl|ndjson)$/i.test(name);
    this.#status.textContent = '';
    this.#bar.value = 0;
    this.#preview();
  }

  /** What the column holds, so that a wrong one is noticed before it is classified. */
  #preview() {
    const at = Number(this.#column.value);
    const some = this.#given?.rows.slice(0, 3).map((row) => row[at].slice(0, 120)) ?? [];
    const items = some.map((text) => Object.assign(document.createElement('li'), { textContent: text === '' ? '(empty)' : text }));
    element('batch-preview', HTMLElement).replaceChildren(...items);
  }

  #ready() {
    const running = this.#running !== null;
    this.#run.disabled = !this.#classifier || !this.#given || running;
    this.#cancel.hidden = !running;
    for (const id of ['batch-bar', 'batch-progress']) element(id, HTMLElement).hidden = !running;
    if (running) this.#status.textContent = 'Classifying.';
  }

  async #classify() {
    const [classifier, given] = [this.#classifier, this.#given];
    if (!classifier || !given) return;
    const at = Number(this.#column.value);
    const texts = given.rows.map((row) => row[at]);
    const abort = new AbortController();
    this.#running = abort;
    this.#rows = [];
    this.#ready();
    showError(this.#error, null);
    this.#cancel.focus();
    const started = performance.now();
    let shownAt = -Infinity;
    try {
      await classifyEach(classifier, texts, {
        signal: abort.signal,
        onProgress: (rows) => this.#progress(rows, texts.length, performance.now() - started),
        onOutcomes: (outcomes) => {
          for (let index = this.#rows.length; index < outcomes.length; index += 1) this.#rows.push(rowOf(texts[index], outcomes[index], index));
          const last = outcomes.at(-1);
          if (last && 'result' in last) this.#onAnswer(last.result);
          this.#bar.dataset.done = String(outcomes.length);
          this.#progress(outcomes.length, texts.length, performance.now() - started);
          if (performance.now() - shownAt < REFRESH_MS) return;
          this.#showResults();
          shownAt = performance.now();
        },
      });
      this.#finish(`${counted(texts.length, 'row')} in ${duration(performance.now() - started)}.`);
    } catch (error) {
      // Another file took its place.
      if (this.#given !== given) return;
      this.#finish(`Stopped after ${whole(this.#rows.length)} of ${counted(texts.length, 'row')}.`);
      if (!abort.signal.aborted && !(error instanceof IntentError && error.code === 'disposed')) showError(this.#error, error);
    } finally {
      if (this.#running === abort) this.#running = null;
      this.#ready();
    }
  }

  /**
   * @param {number} done
   * @param {number} total
   * @param {number} ms
   */
  #progress(done, total, ms) {
    const left = (ms / done) * (total - done);
    this.#bar.value = done / total;
    element('batch-progress', HTMLElement).textContent = `${whole(done)} of ${counted(total, 'row')}${done < total ? `, about ${roughly(left)} left` : ''}`;
  }

  /** @param {string} status */
  #finish(status) {
    const hadFocus = document.activeElement === this.#cancel;
    this.#status.textContent = status;
    if (this.#rows.length === 0) return;
    this.#showResults();
    if (hadFocus) element('batch-results-title', HTMLElement).focus();
  }

  #showResults() {
    const rows = this.#rows;
    element('batch-results', HTMLElement).hidden = false;
    const classified = rows.filter(({ route }) => route !== '');
    const local = classified.filter(({ route }) => route === 'local').length;
    const share = classified.length === 0 ? '' : `, ${percent(local / classified.length)}`;
    showFacts(element('batch-facts', HTMLElement), [
      ['rows', whole(rows.length)],
      [`answered on this device${share}`, whole(local)],
      ['escalate', whole(classified.length - local)],
      ['not classified', whole(rows.length - classified.length)],
      ['sent', '0 bytes'],
    ]);
    const bars = (/** @type {(row: Row) => string} */ key, /** @type {(code: string) => string} */ title) =>
      tallied(classified, key).map(([code, count]) => ({ label: title(code), count, className: code }));
    element('batch-charts', HTMLElement).replaceChildren(
      barTable('Intents', bars(({ intent }) => intent, intentTitle)),
      barTable('Routes', bars(({ route }) => route, (route) => routeTitle(route === 'local' ? 'local' : 'escalate'))),
      barTable('Reasons', bars(({ reason }) => reason, reasonTitle)),
      histogram(classified),
    );
    this.#table.show(rows);
  }

  /**
   * @param {(given: Rows, rows: Row[]) => Blob} write
   * @param {string} extension
   */
  #export(write, extension) {
    if (!this.#given) return;
    const base = this.#given.name.replace(/\.[^.]*$/, '');
    download(write(this.#given, this.#rows), `${base}-intents.${extension}`);
  }
}
