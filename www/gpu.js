/** Entry of the GPU benchmark: one model on both backends, interleaved, and a result to hand on. */

import { IntentClassifier } from '/pkg/index.js';
import { SAMPLES } from './live/samples.js';
import { offered } from './model/offered.js';
import { create, element, showError } from './ui/dom.js';

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
const result = element('result', HTMLElement);
const copy = element('copy', HTMLButtonElement);

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
  status.textContent = `Loading for ${backend}`;
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

run.addEventListener('click', async () => {
  run.disabled = true;
  copy.hidden = true;
  result.textContent = '';
  showError(error, null);
  try {
    const count = Math.min(50, Math.max(1, Math.floor(Number(rounds.value)) || 1));
    result.textContent = JSON.stringify(report(await measure(models[choice.selectedIndex], count)), null, 2);
    status.textContent = 'Done';
    copy.hidden = false;
  } catch (caught) {
    showError(error, caught);
    status.textContent = 'Failed';
  } finally {
    run.disabled = false;
  }
});

copy.addEventListener('click', () => void navigator.clipboard.writeText(result.textContent ?? ''));

async function offer() {
  for (const { name, pack, adapter } of (await offered()).models) {
    choice.append(create('option', { text: name }));
    models.push({ pack: pack.url, ...(adapter && { adapter: adapter.url }) });
  }
}

void offer();
