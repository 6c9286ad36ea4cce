/** What export_onnx.py says of the peer, and the check that the browser computes the same. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { required } from './paths.js';

/** @typedef {import('../page/engines/engine.js').Answer} Answer */
/** @typedef {import('./facts.js').FileFacts} FileFacts */
/** @typedef {'fp32' | 'int8'} Precision */

/**
 * @typedef {object} Agreement With the NumPy reference, over the messages.
 * @property {number} largest_logit_difference
 * @property {number} relative_error Root mean square of the differences, in standard deviations of the reference's logits.
 * @property {number} same_label
 */

/**
 * @typedef {object} Peer
 * @property {Record<string, string>} versions Of the packages that exported it.
 * @property {Record<string, FileFacts>} encoder The files that it was made from.
 * @property {boolean} trained_head Whether the folder had the head, and labels mean something.
 * @property {number} layer_parameters Parameters of the encoder's layers alone.
 * @property {Record<string, number>} fused
 * @property {Record<Precision, FileFacts & Agreement & { limits: Partial<Agreement> }>} models
 * @property {{ text: string, ids: number[], logits: number[] }[]} messages With the reference's answers.
 */

/**
 * @param {string} folder
 * @returns {Peer}
 */
export function readPeer(folder) {
  return JSON.parse(readFileSync(required(join(folder, 'peer.json')), 'utf8'));
}

/**
 * @param {Peer} peer
 * @param {Precision} precision
 * @param {readonly Answer[]} answers In the order of the peer's messages.
 * @returns {Agreement}
 * @throws Where tokens or logits are not the ones that were meant.
 */
export function checkAnswers(peer, precision, answers) {
  for (const [index, { text, ids }] of peer.messages.entries()) {
    if (answers[index].ids?.join() !== ids.join()) {
      throw new Error(`the peer's tokenizer gives other tokens in the browser for: ${text}`);
    }
  }
  const found = agreement(
    answers.map(({ logits }) => logits ?? []),
    peer.messages.map(({ logits }) => logits),
  );
  for (const [figure, limit] of Object.entries(peer.models[precision].limits)) {
    const value = found[/** @type {keyof Agreement} */ (figure)];
    if (!(value <= limit)) throw new Error(`onnxruntime-web ${precision}: ${figure} to the reference is ${value}, at most ${limit} is right`);
  }
  return found;
}

/**
 * @param {readonly number[][]} found [message][label]
 * @param {readonly number[][]} right [message][label]
 * @returns {Agreement}
 */
function agreement(found, right) {
  const differences = right.flatMap((logits, message) => logits.map((value, label) => (found[message][label] ?? NaN) - value));
  const mean = average(right.flat());
  const deviation = Math.sqrt(average(right.flat().map((value) => (value - mean) ** 2)));
  return {
    largest_logit_difference: Math.max(...differences.map(Math.abs)),
    relative_error: Math.sqrt(average(differences.map((value) => value ** 2))) / deviation,
    same_label: right.filter((logits, message) => best(logits) === best(found[message])).length,
  };
}

/** @param {readonly number[]} values */
function average(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * @param {readonly number[]} values
 * @returns {number} Index of the largest.
 */
export function best(values) {
  return values.indexOf(Math.max(...values));
}
