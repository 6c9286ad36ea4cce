/** Entry of the GPU benchmark: one model on both backends, interleaved, and a result to read and to hand on. */

import { IntentClassifier } from '/pkg/index.js';
import { SAMPLES } from './live/samples.js';
import { offered } from './model/offered.js';
import { create, element, showError } from './ui/dom.js';
import { duration } from './ui/format.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').Backend} Backend */
/** @typedef {{ pack?: URL, adapter?: URL }} Model The page's own if empty. */

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
  return { classifier, loadMs: performance.now() - started, info: await classifier.info() };
}

/**
 * @param {Model} model
 * @param {number} count Of rounds.
 */
async function measure(model, count) {
  /** @type {Awaited<ReturnType<typeof load>>[]} */
  const sides = [];
  /** @type {{ answers: ClassifyResult[], times: number[] }[]} */
  const taken = [];
  try {
    for (const backend of /** @type {const} */ (['cpu', 'webgpu'])) {
      sides.push(await load(backend, model));
      taken.push({ answers: [], times: [] });
    }
    for (let round = 0; round <= count; round += 1) {
      status.textContent = round === 0 ? 'Warming up' : `Round ${round} of ${count}`;
      for (const message of MESSAGES) {
        // One after the other, so that whatever else the machine does hits both.
        for (const [index, { classifier }] of sides.entries()) {
          const started = performance.now();
          const answer = await classifier.classify(message);
          if (round === 0) taken[index].answers.push(answer);
          else taken[index].times.push(performance.now() - started);
        }
      }
    }
  } finally {
    for (const { classifier } of sides) classifier.dispose();
  }
  return sides.map(({ loadMs, info }, index) => ({ loadMs, info, ...taken[index] }));
}

/** @param {Awaited<ReturnType<typeof measure>>} sides The CPU's, then the GPU's. */
function report([cpu, gpu]) {
  const difference = cpu.answers.map(({ probabilities }, index) => {
    const other = gpu.answers[index].probabilities ?? {};
    return Math.max(...Object.entries(probabilities ?? {}).map(([label, value]) => Math.abs(value - (other[label] ?? 0))));
  });
  const side = (/** @type {typeof cpu} */ { loadMs, info, times }) => ({
    backend: info.backend,
    threads: info.threads,
    reason: info.reason,
    load_ms: rounded(loadMs),
    median_ms: rounded(quantile(times, 0.5)),
    p95_ms: rounded(quantile(times, 0.95)),
    n: times.length,
  });
  return {
    model: cpu.info.stage,
    parameters: cpu.info.parameters,
    gpu: gpu.info.gpu,
    browser: navigator.userAgent,
    cores: navigator.hardwareConcurrency,
    cpu_side: side(cpu),
    gpu_side: side(gpu),
    cpu_over_gpu: rounded(quantile(cpu.times, 0.5) / quantile(gpu.times, 0.5)),
    label_flips: cpu.answers.filter(({ intent }, index) => intent !== gpu.answers[index].intent).length,
    messages: cpu.answers.length,
    largest_probability_difference: Math.max(...difference),
  };
}

/** @typedef {ReturnType<typeof report>} Report */

/** @param {Report} report */
function show({ cpu_side: cpu, gpu_side: gpu, gpu: adapter, label_flips: flips, messages, largest_probability_difference: difference }) {
  const isGpu = gpu.backend === 'webgpu';
  const [faster, slower] = gpu.median_ms < cpu.median_ms ? ['GPU', 'CPU'] : ['CPU', 'GPU'];
  const [least, most] = [cpu.median_ms, gpu.median_ms].sort((a, b) => a - b);
  element('verdict', HTMLElement).textContent = isGpu ? `The ${faster} answers ${Number((most / least).toPrecision(2))} times as fast as the ${slower}.` : 'No GPU could be used here.';
  const note = isGpu ? noteOf(adapter) : `Both columns are the CPU’s. ${gpu.reason ?? ''}`;
  element('gpu-note', HTMLElement).textContent = note;
  element('gpu-note', HTMLElement).hidden = note === '';
  const second = isGpu ? 'GPU' : 'CPU again';
  element('times-head', HTMLElement).replaceChildren(create('td'), ...['CPU', second].map((text) => create('th', { text, attributes: { scope: 'col' } })));
  /** @type {[string, 'load_ms' | 'median_ms' | 'p95_ms'][]} */
  const rows = [['Loading', 'load_ms'], ['Median', 'median_ms'], ['95th percentile', 'p95_ms']];
  const row = (/** @type {string} */ title, /** @type {string[]} */ values) =>
    create('tr', {}, create('th', { text: title, attributes: { scope: 'row' } }), ...values.map((text) => create('td', { text })));
  element('times', HTMLElement).replaceChildren(...rows.map(([title, field]) => row(title, [cpu, gpu].map((side) => duration(side[field])))));
  const labels = flips === 0 ? 'The same label on both for each' : `Another label for ${flips}`;
  element('agreement', HTMLElement).textContent = `${labels} of ${messages} messages; probabilities differ by ${difference.toFixed(3)} at the most. ${cpu.n} answers timed on each side.`;
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
    const measured = report(await measure(models[choice.selectedIndex], count));
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
