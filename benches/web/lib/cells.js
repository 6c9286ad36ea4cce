/** From measured times to the cells of the table and the ratios. */

import { best, checkAnswers } from './peer.js';
import { ratio, spread } from './statistics.js';

/** @typedef {import('../page/steady.js').Measured} Measured */
/** @typedef {import('./peer.js').Peer} Peer */
/** @typedef {import('./peer.js').Precision} Precision */
/** @typedef {import('./statistics.js').Ratio} Ratio */
/** @typedef {import('./statistics.js').Spread} Spread */

/**
 * @typedef {object} Cell
 * @property {string} engine
 * @property {Precision | null} precision `null` for ours: the model says it.
 * @property {number} threads
 * @property {Record<string, unknown>} about
 * @property {Spread} ms A message, as the page sees it.
 * @property {Spread} engine_ms The part inside the engine's Worker.
 * @property {Ratio | null} against_ours How many times ours on as many threads it takes; `null` for ours, and where they
 *   differ in what they compute.
 * @property {import('./peer.js').Agreement | null} check Of a peer, in this browser.
 * @property {number[][]} samples_ms [message][round]
 */

const OURS = 'relayops-intent';
const ORT = 'onnxruntime-web';

/**
 * Every build of ours; the fastest, which the peers are compared with, first.
 *
 * @type {{ name: string, kernels: 'relaxed-simd' | 'simd128', threads: number }[]}
 */
export const OWN = /** @type {const} */ (['relaxed-simd', 'simd128']).flatMap((kernels) =>
  [1, 2].map((threads) => ({ name: `${OURS} ${kernels} ${threads}`, kernels, threads })),
);

/** @type {{ name: string, precision: Precision, threads: number }[]} */
export const PEERS = [1, 2].flatMap((threads) =>
  /** @type {Precision[]} */ (['fp32', 'int8']).map((precision) => ({ name: `${ORT} ${precision} ${threads}`, precision, threads })),
);

/**
 * Whether ours ran the peer's architecture at no less than its size; anything else has no ratio.
 *
 * @param {Record<string, unknown>} about
 * @param {Peer} peer
 */
export function isComparable(about, peer) {
  return about.architecture === 'bert' && Number(about.parameters) >= peer.layer_parameters;
}

/**
 * @param {Measured[]} measured OWN first, then PEERS.
 * @param {Peer} peer
 * @returns {Cell[]} In the same order.
 */
export function cells(measured, peer) {
  const [own, peers] = [measured.slice(0, OWN.length), measured.slice(OWN.length)];
  const comparable = isComparable(own[0].about, peer);
  /** @type {(one: Measured) => Omit<Cell, 'precision' | 'against_ours' | 'check'>} */
  const common = ({ name, about, ms, engineMs }) => ({
    engine: name.startsWith(OURS) ? OURS : ORT,
    threads: Number(about.threads),
    about,
    ms: spread(ms.flat()),
    engine_ms: spread(engineMs.flat()),
    samples_ms: ms,
  });
  const first = own.map((one, index) => {
    checkThreads(one, OWN[index].threads);
    checkKernels(one, OWN[index].kernels);
    return { ...common(one), precision: null, against_ours: null, check: null };
  });
  const others = peers.map((one, index) => {
    const { precision, threads } = PEERS[index];
    checkThreads(one, threads);
    const ours = own[OWN.findIndex((candidate) => candidate.threads === threads)];
    return {
      ...common(one),
      precision,
      against_ours: comparable ? ratio(one.ms, ours.ms) : null,
      check: checkAnswers(peer, precision, one.answers),
    };
  });
  return [...first, ...others];
}

/** @param {Measured} measured @param {number} threads */
function checkThreads({ name, about }, threads) {
  if (about.threads !== threads) throw new Error(`${name} ran with ${about.threads} thread(s)`);
}

/** @param {Measured} measured @param {string} kernels */
function checkKernels({ name, about }, kernels) {
  if (about.backend !== `cpu-${kernels}`) throw new Error(`${name} ran on ${about.backend}`);
}

/**
 * The goals' figure: ours against the better peer at one thread, in pairs.
 *
 * @param {Cell[]} all
 * @returns {number | null} Above 1, ours is faster; `null` where it can't be said.
 */
export function compactOrt(all) {
  const alone = all.filter((cell) => cell.threads === 1 && cell.engine !== OURS);
  const ratios = alone.flatMap((cell) => (cell.against_ours === null ? [] : [cell.against_ours.paired]));
  if (ratios.length === 0 || ratios.length < alone.length) return null;
  return Math.min(...ratios);
}

/**
 * What a second thread brings ours, in pairs.
 *
 * @param {Measured[]} measured
 * @returns {number} Above 1, two threads are faster than one.
 */
export function secondThread([one, two]) {
  return ratio(one.ms, two.ms).paired;
}

/**
 * For how many messages ours gives the label of the peer in floats; says something where both have the same
 * trained head, whose rows are in the order of ours' labels.
 *
 * @param {Measured[]} measured
 * @param {Peer} peer
 * @returns {number | null}
 */
export function sameLabels(measured, peer) {
  const [ours, peers] = [measured[0], measured.slice(OWN.length)];
  const floats = peers[PEERS.findIndex(({ precision }) => precision === 'fp32')];
  const { labels } = ours.about;
  if (!peer.trained_head || !Array.isArray(labels) || !isComparable(ours.about, peer)) return null;
  const theirs = floats.answers.map(({ logits }) => labels[best(logits ?? [])]);
  return ours.answers.filter(({ label }, index) => label === theirs[index]).length;
}
