/** The browser benchmark's arithmetic: what its ratios are made of, and when it refuses to give one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OWN, PEERS, cells, compactOrt, sameLabels, secondThread } from '../../../benches/web/lib/cells.js';
import { kernelShare, outsideMatmul } from '../../../benches/web/lib/qwen/cells.js';
import { ours, schedule, smallPlan, wllama } from '../../../benches/web/lib/qwen/plan.js';
import { ratios } from '../../../benches/web/lib/ratios.js';
import { quantile, ratio, spread } from '../../../benches/web/lib/statistics.js';

/** @typedef {import('../../../benches/web/lib/peer.js').Peer} Peer */
/** @typedef {import('../../../benches/web/page/steady.js').Measured} Measured */

const FILE = { bytes: 1, sha256: '' };
const MODEL = { ...FILE, largest_logit_difference: 0, relative_error: 0, same_label: 2 };
/** @type {Peer} */
const PEER = {
  versions: {},
  encoder: {},
  trained_head: true,
  layer_parameters: 1000,
  fused: {},
  models: { fp32: { ...MODEL, limits: { largest_logit_difference: 0.001 } }, int8: { ...MODEL, limits: { relative_error: 0.5 } } },
  messages: [
    { text: 'a', ids: [1, 2], logits: [0, 3] },
    { text: 'b', ids: [1, 5, 2], logits: [2, 0] },
  ],
};

/**
 * Ours takes 2 and 4 ms, on two threads half, without relaxed SIMD twice as long. At one thread fp32 takes 3 and 2 times as long, int8 5 and 7 times; at two, half.
 *
 * @param {Record<string, unknown>} about Of ours.
 * @returns {Measured[]}
 */
function measured(about) {
  const times = (/** @type {number} */ factor) => [[2 * factor], [4 * factor]];
  const answer = (/** @type {number} */ index) => ({ label: null, engineMs: 1, ids: PEER.messages[index].ids, logits: PEER.messages[index].logits });
  /** @type {Measured[]} */
  const own = OWN.map(({ name, kernels, threads }) => {
    const answers = ['no', 'yes'].map((label) => ({ label, engineMs: 1 }));
    const slower = kernels === 'simd128' ? 2 : 1;
    return {
      name,
      about: { threads, backend: `cpu-${kernels}`, ...about },
      ms: times(slower / threads),
      engineMs: times((0.5 * slower) / threads),
      answers,
    };
  });
  const peers = PEERS.map(({ name, precision, threads }) => {
    const ms = precision === 'fp32' ? [[6 / threads], [8 / threads]] : [[10 / threads], [28 / threads]];
    return { name, about: { threads }, ms, engineMs: ms, answers: [answer(0), answer(1)] };
  });
  return [...own, ...peers];
}

const COMPACT = { architecture: 'bert', parameters: 5000, labels: ['yes', 'no'] };

test('quantiles interpolate, whatever the order', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.equal(quantile([10, 0], 0.1), 1);
  assert.equal(quantile([7], 0.9), 7);
  assert.throws(() => quantile([], 0.5), /nothing/);
  assert.deepEqual(spread([3, 1, 2]), { n: 3, median: 2, p10: 1.2, p90: 2.8, min: 1, max: 3 });
});

test('a ratio is paired by message, and of medians', () => {
  const { paired, of_medians } = ratio([[2, 4, 90], [100, 100, 100]], [[1, 2, 3], [10, 10, 10]]);
  assert.equal(paired, 6, 'the mean of 4 / 2 and 100 / 10');
  assert.equal(of_medians, 95 / 6.5);
});

test('the goal is held against the better peer at one thread', () => {
  const all = cells(measured(COMPACT), PEER);
  assert.deepEqual(all.map((cell) => [cell.engine, cell.precision, cell.threads]), [
    ['relayops-intent', null, 1],
    ['relayops-intent', null, 2],
    ['relayops-intent', null, 1],
    ['relayops-intent', null, 2],
    ['onnxruntime-web', 'fp32', 1],
    ['onnxruntime-web', 'int8', 1],
    ['onnxruntime-web', 'fp32', 2],
    ['onnxruntime-web', 'int8', 2],
  ]);
  assert.deepEqual(all.slice(4).map((cell) => cell.against_ours?.paired), [2.5, 6, 2.5, 6], 'each against ours on as many threads');
  assert.equal(secondThread(measured(COMPACT)), 2);
  assert.equal(compactOrt(all), 2.5, 'fp32, and not the faster cell at two threads');
});

test('there is no ratio to another architecture or a smaller model', () => {
  for (const about of [{ ...COMPACT, architecture: 'qwen2' }, { ...COMPACT, parameters: 999 }]) {
    const all = cells(measured(about), PEER);
    assert.deepEqual(all.map((cell) => cell.against_ours), Array(8).fill(null));
    assert.equal(compactOrt(all), null);
    assert.equal(sameLabels(measured(about), PEER), null);
  }
  assert.throws(() => cells(measured({ ...COMPACT, threads: 2 }), PEER), /relayops-intent relaxed-simd 1 ran with 2 thread/);
  assert.throws(() => cells(measured({ ...COMPACT, backend: 'cpu-simd128' }), PEER), /relaxed-simd 1 ran on cpu-simd128/);
});

test('labels are compared where the head is the trained one', () => {
  assert.equal(sameLabels(measured(COMPACT), PEER), 2);
  assert.equal(sameLabels(measured({ ...COMPACT, labels: ['no', 'yes'] }), PEER), 0);
  assert.equal(sameLabels(measured(COMPACT), { ...PEER, trained_head: false }), null);
});

test('a peer that computes something else, or with other threads, ends the run', () => {
  const tokens = measured(COMPACT);
  tokens[4].answers[1] = { ...tokens[4].answers[1], ids: [1, 2] };
  assert.throws(() => cells(tokens, PEER), /other tokens in the browser for: b/);
  const close = measured(COMPACT);
  close[4].answers[0] = { ...close[4].answers[0], logits: [0, 3.0009] };
  close[5].answers[0] = { ...close[5].answers[0], logits: [1, 2.5] };
  const [fp32, int8] = cells(close, PEER).slice(OWN.length);
  assert.ok(Math.abs((fp32.check?.largest_logit_difference ?? NaN) - 0.0009) < 1e-9);
  // Differences 1, 0.5, 0, 0; logits 0, 3, 2, 0.
  assert.ok(Math.abs((int8.check?.relative_error ?? NaN) - Math.sqrt(1.25 / 6.75)) < 1e-9);
  const far = measured(COMPACT);
  far[4].answers[0] = { ...far[4].answers[0], logits: [0.01, 3] };
  assert.throws(() => cells(far, PEER), /fp32: largest_logit_difference to the reference is 0.01/);
  const wrong = measured(COMPACT);
  wrong[5].answers[0] = { ...wrong[5].answers[0], logits: [3, 0] };
  assert.throws(() => cells(wrong, PEER), /int8: relative_error/);
  const missing = measured(COMPACT);
  missing[5].answers[0] = { ...missing[5].answers[0], logits: [] };
  assert.throws(() => cells(missing, PEER), /int8: relative_error to the reference is NaN/);
  const threads = measured(COMPACT);
  threads[7].about = { threads: 1 };
  assert.throws(() => cells(threads, PEER), /ran with 1 thread/);
});

/** @typedef {import('../../../benches/web/lib/qwen/cells.js').LargeCell} LargeCell */

/**
 * @param {string} engine
 * @param {LargeCell['task']} task
 * @param {number[][]} samples [message][sample]
 * @param {Partial<LargeCell>} [rest]
 * @returns {LargeCell}
 */
function cell(engine, task, samples, rest) {
  const some = samples.flat();
  const nothing = { about: {}, boundary_ms: null, counts: {}, labels: [], samples_counts: some.map(() => ({})) };
  return { engine, task, ms: spread(some), samples_ms: samples, ...nothing, ...rest };
}

/** What the goals are called. */
const GOALS = [
  'prefill_original_1t',
  'prefill_pack_1t',
  'message_smart',
  'enter_smart',
  'message_naive',
  'message_native',
  'enter_native',
  'message_smart_1.5b',
  'enter_smart_1.5b',
  'compact_ort',
  'kernel_peak',
  'threads_2',
  'memory_original',
  'outside_matmul',
];

test('the goals have their figures, and what was left out has none', () => {
  const none = ratios({ cells: [], kernels: [], memory: [], compactOrt: null });
  assert.deepEqual(Object.keys(none), GOALS);
  assert.deepEqual(Object.values(none), GOALS.map(() => null));
});

test('of several thread counts the worst counts, over the messages that both were asked', () => {
  const cells = [
    cell(ours('pack', 1), 'message', [[10], [20], [40]]),
    cell(ours('pack', 2), 'message', [[5], [10], [10]]),
    cell(wllama('0.5b', 1), 'smart', [[100], [], [800]]),
    cell(wllama('0.5b', 2), 'smart', [[60], [90], []]),
  ];
  const peak = { kernel: 'relaxed-simd', rows: 1, cols: 1, tokens: 1 };
  const found = ratios({
    cells,
    kernels: [
      { ...peak, format: 'Q4_0', product: 7, alone: 8, peak: 10 },
      { ...peak, format: 'Q5_0', product: 6, alone: 8, peak: 10 },
      { ...peak, format: 'Q6K', product: 1, alone: 8, peak: 10 },
    ],
    memory: [
      { engine: ours('original', 1), peak_bytes: [6, 5, 90] },
      { engine: ours('original', 2), peak_bytes: [8] },
      { engine: wllama('0.5b', 1), peak_bytes: [10] },
      { engine: wllama('0.5b', 2), peak_bytes: [10] },
    ],
    compactOrt: 3,
  });
  assert.equal(found.message_smart, 10.5, 'two threads: the mean of 60 / 5 and 90 / 10; one: that of 10 and 20');
  assert.equal(found.threads_2, 2);
  assert.equal(found.kernel_peak, 0.6, "the pack's formats");
  assert.equal(found.memory_original, 0.8);
  assert.equal(found.compact_ort, 3);
  assert.equal(found.enter_smart, null);
  assert.equal(kernelShare([]), null);
});

test('what is outside the products includes the way to the page', () => {
  const profile = cell('p', 'profile', [[80], [90]], {
    samples_counts: [
      { 'matmul: up': 50, 'matmul: down': 20, attention: 10 },
      { 'matmul: up': 70, 'matmul: down': 10, attention: 10 },
    ],
  });
  const message = cell('m', 'message', [[100]], { boundary_ms: spread([20, 20]) });
  const expected = (1 - 70 / 100 + (1 - 80 / 110)) / 2;
  assert.ok(Math.abs(outsideMatmul(profile, message) - expected) < 1e-12);
});

test('every cell gets all its calls, the slow ones spread over the rounds', () => {
  const cells = [
    { engine: 'a', task: /** @type {const} */ ('message'), messages: 4, rounds: 3 },
    { engine: 'b', task: /** @type {const} */ ('smart'), messages: 3, rounds: 1 },
  ];
  const calls = schedule(cells, Math.random);
  const of = (/** @type {number} */ cell) => calls.flatMap((call, at) => (call.cell === cell ? [{ at, message: call.message }] : []));
  assert.deepEqual(of(0).map(({ message }) => message), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
  assert.deepEqual(of(1).map(({ message }) => message).sort(), [0, 1, 2]);
  assert.ok(of(1).at(-1)?.at !== undefined && /** @type {number} */ (of(1).at(-1)?.at) > 7, 'not all of them at the beginning');
});

test('every engine of the plan has a cell, and every build is there on its threads', () => {
  const prompt = { system: '', prefix: '', suffix: '', labels: [] };
  const config = { labels: [], prompt: { system: '', pieces: [], answer: { open: '' } } };
  const size = { rounds: 3, messages: 10, smart: 10, naive: 5, prefill: 5 };
  const plan = smallPlan({ small: '/somewhere/base.gguf', config, prompt, size, withNative: true });
  const asked = new Set(plan.cells.map(({ engine }) => engine));
  assert.deepEqual(plan.engines.filter(({ name }) => !asked.has(name)), []);
  assert.equal(new Set(plan.engines.map(({ name }) => name)).size, plan.engines.length);
  for (const model of ['pack', 'original']) {
    for (const kernels of ['simd128', 'relaxed-simd']) for (const threads of [1, 2]) assert.ok(asked.has(ours(model, threads, kernels)));
  }
  for (const { engine, messages, rounds } of plan.cells) assert.ok(messages * rounds >= (engine.startsWith('wllama') ? 5 : 30));
  const bare = smallPlan({ small: '/somewhere/base.gguf', config, prompt, size, withNative: false });
  assert.ok(bare.engines.every(({ choice }) => choice.kind !== 'native'));
});
