/** The browser benchmark's arithmetic: what its ratios are made of, and when it refuses to give one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OWN, PEERS, cells, compactOrt, sameLabels, secondThread } from '../../../benches/web/lib/cells.js';
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
 * Ours takes 2 and 4 ms, on two threads half. At one thread fp32 takes 3 and 2 times as long, int8 5 and 7 times; at two, half.
 *
 * @param {Record<string, unknown>} about Of ours.
 * @returns {Measured[]}
 */
function measured(about) {
  const times = (/** @type {number} */ factor) => [[2 * factor], [4 * factor]];
  const answer = (/** @type {number} */ index) => ({ label: null, engineMs: 1, ids: PEER.messages[index].ids, logits: PEER.messages[index].logits });
  /** @type {Measured[]} */
  const own = OWN.map(({ name, threads }) => {
    const answers = ['no', 'yes'].map((label) => ({ label, engineMs: 1 }));
    return { name, about: { threads, ...about }, ms: times(1 / threads), engineMs: times(0.5 / threads), answers };
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
    ['onnxruntime-web', 'fp32', 1],
    ['onnxruntime-web', 'int8', 1],
    ['onnxruntime-web', 'fp32', 2],
    ['onnxruntime-web', 'int8', 2],
  ]);
  assert.deepEqual(all.slice(2).map((cell) => cell.against_ours?.paired), [2.5, 6, 2.5, 6], 'each against ours on as many threads');
  assert.equal(secondThread(measured(COMPACT)), 2);
  assert.equal(compactOrt(all), 2.5, 'fp32, and not the faster cell at two threads');
});

test('there is no ratio to another architecture or a smaller model', () => {
  for (const about of [{ ...COMPACT, architecture: 'qwen2' }, { ...COMPACT, parameters: 999 }]) {
    const all = cells(measured(about), PEER);
    assert.deepEqual(all.map((cell) => cell.against_ours), [null, null, null, null, null, null]);
    assert.equal(compactOrt(all), null);
    assert.equal(sameLabels(measured(about), PEER), null);
  }
  assert.throws(() => cells(measured({ ...COMPACT, threads: 2 }), PEER), /relayops-intent 1 ran with 2 thread/);
});

test('labels are compared where the head is the trained one', () => {
  assert.equal(sameLabels(measured(COMPACT), PEER), 2);
  assert.equal(sameLabels(measured({ ...COMPACT, labels: ['no', 'yes'] }), PEER), 0);
  assert.equal(sameLabels(measured(COMPACT), { ...PEER, trained_head: false }), null);
});

test('a peer that computes something else, or with other threads, ends the run', () => {
  const tokens = measured(COMPACT);
  tokens[2].answers[1] = { ...tokens[2].answers[1], ids: [1, 2] };
  assert.throws(() => cells(tokens, PEER), /other tokens in the browser for: b/);
  const close = measured(COMPACT);
  close[2].answers[0] = { ...close[2].answers[0], logits: [0, 3.0009] };
  close[3].answers[0] = { ...close[3].answers[0], logits: [1, 2.5] };
  const [, , fp32, int8] = cells(close, PEER);
  assert.ok(Math.abs((fp32.check?.largest_logit_difference ?? NaN) - 0.0009) < 1e-9);
  // Differences 1, 0.5, 0, 0; logits 0, 3, 2, 0.
  assert.ok(Math.abs((int8.check?.relative_error ?? NaN) - Math.sqrt(1.25 / 6.75)) < 1e-9);
  const far = measured(COMPACT);
  far[2].answers[0] = { ...far[2].answers[0], logits: [0.01, 3] };
  assert.throws(() => cells(far, PEER), /fp32: largest_logit_difference to the reference is 0.01/);
  const wrong = measured(COMPACT);
  wrong[3].answers[0] = { ...wrong[3].answers[0], logits: [3, 0] };
  assert.throws(() => cells(wrong, PEER), /int8: relative_error/);
  const missing = measured(COMPACT);
  missing[3].answers[0] = { ...missing[3].answers[0], logits: [] };
  assert.throws(() => cells(missing, PEER), /int8: relative_error to the reference is NaN/);
  const threads = measured(COMPACT);
  threads[5].about = { threads: 1 };
  assert.throws(() => cells(threads, PEER), /ran with 1 thread/);
});
