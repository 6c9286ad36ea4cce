/** Entry of the GPU benchmark: one model on both backends, interleaved, and a result to read and to hand on. */

import { IntentClassifier } from '/pkg/index.js';
import { SAMPLES } from './live/samples.js';
import { offered } from './model/offered.js';
import { create, element, showError } from './ui/dom.js';
import { duration } from './ui/format.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').Backend} Backend */
/** @typedef {{ pack?: URL, adapter?: URL }} Model The page's own if empty. */
/** What a side said: answers of the first round, times of the others, how many had no answer, and what they ran on. @typedef {{ answers: ClassifyResult[], times: number[], failures: number, backends: Set<string> }} Taken */
/** @typedef {Taken & { loadMs: number, info: import('/pkg/index.js').ModelInfo }} Side */

const MESSAGES = SAMPLES.flatMap(({ messages }) => messages);
const choice = element('model', HTMLSelectElement);
/** In the order of the choice. @type {Model[]} */
const models = [{}];
const rounds = element('rounds', HTMLInputElement);
const run = element('run', HTMLButtonElement);
const status = element('status', HTMLElement);
const error = element('error', HTMLElement);
const outcome = element('outcome', HTMLElement);
const result = element('result', HTMLElement);
const copied = element('copied', HTMLElement);

/**
 * @param {number[]} values
 * @param {number} share
 */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

const rounded = (/** @type {number} */ value) => Math.round(value * 100) / 100;

/**
 * @param {Backend} backend
 * @param {Model} model
 */
async function load(backend, model) {
  status.textContent = `Loading for the ${backend === 'cpu' ? 'CPU' : 'GPU'}`;
  const started = performance.now();
  const classifier = await IntentClassifier.load({ backend, ...model });
  return { classifier, loadMs: performance.now() - started };
}

/**
 * @param {Model} model
 * @param {number} count Of rounds.
 * @returns {Promise<Side[]>}
 */
async function measure(model, count) {
  /** @type {Awaited<ReturnType<typeof load>>[]} */
  const sides = [];
  /** @type {Taken[]} */
  const taken = [];
  try {
    for (const backend of /** @type {const} */ (['cpu', 'webgpu'])) {
      sides.push(await load(backend, model));
      taken.push({ answers: [], times: [], failures: 0, backends: new Set() });
    }
    for (let round = 0; round <= count; round += 1) {
      status.textContent = round === 0 ? 'Warming up' : `Round ${round} of ${count}`;
      for (const message of MESSAGES) {
        // One after the other, so that whatever else the machine does hits both.
        for (const [index, { classifier }] of sides.entries()) {
          const started = performance.now();
          const answer = await classifier.classify(message);
          take(taken[index], answer, round === 0 ? null : performance.now() - started);
        }
      }
    }
    // What they ran on in the end: a GPU may be lost on the way.
    const infos = await Promise.all(sides.map(({ classifier }) => classifier.info()));
    return sides.map(({ loadMs }, index) => ({ loadMs, info: infos[index], ...taken[index] }));
  } finally {
    for (const { classifier } of sides) classifier.dispose();
  }
}

/**
 * @param {Taken} side
 * @param {ClassifyResult} answer
 * @param {number | null} ms Nothing while it warms up.
 */
function take(side, answer, ms) {
  side.backends.add(answer.backend);
  if (ms === null) side.answers.push(answer);
  // What was not answered took no time that says anything.
  if (answer.probabilities === null) side.failures += 1;
  else if (ms !== null) side.times.push(ms);
}

/**
 * What was wrong with what the GPU's column was measured with.
 *
 * @param {Side} side
 * @returns {'none' | 'mixed' | 'lost' | 'failed' | null} No GPU, another backend for some answers, a GPU that was lost and
 *   found again, answers that failed.
 */
function faultOf({ backends, failures, info }) {
  if (!backends.has('webgpu')) return 'none';
  if (backends.size > 1) return 'mixed';
  if (failures > 0) return 'failed';
  return info.backend !== 'webgpu' || (info.gpu?.losses ?? 0) > 0 ? 'lost' : null;
}

/** @returns {Promise<string | null>} The package's, where its host has its manifest. */
async function versionOf() {
  const response = await fetch('/pkg/package.json').catch(() => null);
  return response?.ok ? (await response.json()).version : null;
}

/**
 * @param {Side[]} sides The CPU's, then the GPU's.
 * @param {string | null} version
 */
function report([cpu, gpu], version) {
  const both = cpu.answers.flatMap((one, index) => {
    const other = gpu.answers[index];
    return one.probabilities && other.probabilities ? [{ one, other, difference: distance(one.probabilities, other.probabilities) }] : [];
  });
  return {
    version,
    date: new Date().toISOString(),
    model: cpu.info.stage,
    identity: cpu.info.identity ?? null,
    parameters: cpu.info.parameters,
    gpu: gpu.info.gpu,
    browser: navigator.userAgent,
    cores: navigator.hardwareConcurrency,
    fault: faultOf(gpu),
    cpu_side: figuresOf(cpu),
    gpu_side: figuresOf(gpu),
    cpu_over_gpu: faultOf(gpu) === null ? rounded(quantile(cpu.times, 0.5) / quantile(gpu.times, 0.5)) : null,
    label_flips: both.filter(({ one, other }) => one.intent !== other.intent).length,
    messages: both.length,
    largest_probability_difference: both.length === 0 ? null : Math.max(...both.map(({ difference }) => difference)),
  };
}

/** @param {Side} side */
function figuresOf({ loadMs, info, times, failures, backends }) {
  return {
    backend: info.backend,
    backends: [...backends],
    threads: info.threads,
    reason: info.reason,
    load_ms: rounded(loadMs),
    median_ms: times.length === 0 ? null : rounded(quantile(times, 0.5)),
    p95_ms: times.length === 0 ? null : rounded(quantile(times, 0.95)),
    n: times.length,
    failures,
  };
}

/**
 * @param {Record<string, number>} one
 * @param {Record<string, number>} other
 */
function distance(one, other) {
  return Math.max(...Object.entries(one).map(([label, value]) => Math.abs(value - (other[label] ?? 0))));
}

/** @typedef {ReturnType<typeof report>} Report */

/** What is said of each. @type {Record<NonNullable<Report['fault']>, string>} */
const FAULTS = {
  none: 'No GPU could be used here.',
  mixed: 'The GPU was lost on the way: its column is no measurement.',
  lost: 'The GPU was lost on the way and found again: its column is no measurement.',
  failed: 'Some messages had no answer: this is no measurement.',
};

/** @param {Report} report */
function verdictOf({ fault, cpu_over_gpu: ratio }) {
  if (fault !== null) return FAULTS[fault];
  if (ratio === null) return '';
  const [faster, slower] = ratio > 1 ? ['GPU', 'CPU'] : ['CPU', 'GPU'];
  return `The ${faster} answers ${Number(Math.max(ratio, 1 / ratio).toPrecision(2))} times as fast as the ${slower}.`;
}

/** @param {Report} report */
function remarkOf({ fault, gpu, gpu_side: { reason, failures } }) {
  if (fault === 'none') return `Both columns are the CPU’s. ${reason ?? ''}`;
  if (fault === 'failed') return `${failures} without an answer.`;
  return fault === null ? noteOf(gpu) : (reason ?? '');
}

/** @param {Report} report */
function show(report) {
  const { cpu_side: cpu, gpu_side: gpu, fault, label_flips: flips, messages, largest_probability_difference: difference } = report;
  element('verdict', HTMLElement).textContent = verdictOf(report);
  const note = remarkOf(report);
  element('gpu-note', HTMLElement).textContent = note;
  element('gpu-note', HTMLElement).hidden = note === '';
  const second = fault === 'none' ? 'CPU again' : fault === 'mixed' ? 'GPU, then CPU' : 'GPU';
  element('times-head', HTMLElement).replaceChildren(create('td'), ...['CPU', second].map((text) => create('th', { text, attributes: { scope: 'col' } })));
  /** @type {[string, 'load_ms' | 'median_ms' | 'p95_ms'][]} */
  const rows = [['Loading', 'load_ms'], ['Median', 'median_ms'], ['95th percentile', 'p95_ms']];
  const row = (/** @type {string} */ title, /** @type {string[]} */ values) =>
    create('tr', {}, create('th', { text: title, attributes: { scope: 'row' } }), ...values.map((text) => create('td', { text })));
  element('times', HTMLElement).replaceChildren(...rows.map(([title, field]) => row(title, [cpu, gpu].map(({ [field]: ms }) => (ms === null ? 'none' : duration(ms))))));
  const labels = flips === 0 ? 'The same label on both for each' : `Another label for ${flips}`;
  const agreement = difference === null ? 'No message was answered on both.' : `${labels} of ${messages} messages; probabilities differ by ${difference.toFixed(3)} at the most.`;
  element('agreement', HTMLElement).textContent = `${agreement} Answers timed: ${cpu.n} and ${gpu.n}.`;
}

/** @param {import('/pkg/index.js').ModelInfo['gpu']} adapter */
function noteOf(adapter) {
  if (adapter?.software) return 'This browser emulates its GPU in software, which says nothing of one in hardware.';
  const name = [adapter?.vendor, adapter?.architecture, adapter?.description].filter(Boolean).join(' ');
  return name === '' ? '' : `Measured on: ${name}.`;
}

element('setup', HTMLFormElement).addEventListener('submit', async (event) => {
  event.preventDefault();
  run.disabled = true;
  outcome.hidden = true;
  copied.textContent = '';
  showError(error, null);
  try {
    const count = Math.min(50, Math.max(1, Math.floor(Number(rounds.value)) || 1));
    const measured = report(await measure(models[choice.selectedIndex], count), await versionOf());
    result.textContent = JSON.stringify(measured, null, 2);
    show(measured);
    outcome.hidden = false;
    status.textContent = 'Done';
  } catch (caught) {
    showError(error, caught);
    status.textContent = 'Failed';
  } finally {
    run.disabled = false;
  }
});

element('copy', HTMLButtonElement).addEventListener('click', async () => {
  const written = await navigator.clipboard.writeText(result.textContent ?? '').then(() => true, () => false);
  copied.textContent = written ? 'Copied.' : 'The browser does not let this page copy: the result stands below.';
});

async function offer() {
  for (const { name, pack, adapter } of (await offered()).models) {
    choice.append(create('option', { text: name }));
    models.push({ pack: pack.url, ...(adapter && { adapter: adapter.url }) });
  }
}

void offer();
