/**
 * Many messages, one after the other.
 *
 * @module
 */

import { IntentError } from '../errors.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */

/** Codes after which no further message can be answered. */
const FINAL = ['aborted', 'disposed', 'worker_failed'];

/**
 * A message is asked only when the one before is answered, so a single call in between waits for
 * one of these at most.
 *
 * @param {string[]} texts
 * @param {(text: string) => Promise<ClassifyResult>} ask
 * @param {((progress: import('../api.js').BatchProgress) => void) | undefined} onProgress
 * @returns {Promise<PromiseSettledResult<ClassifyResult>[]>} In the order of the texts.
 * @throws {IntentError} With one of {@link FINAL}.
 */
export async function runBatch(texts, ask, onProgress) {
  /** @type {PromiseSettledResult<ClassifyResult>[]} */
  const results = [];
  for (const text of texts) {
    try {
      results.push({ status: 'fulfilled', value: await ask(text) });
    } catch (error) {
      if (!(error instanceof IntentError) || FINAL.includes(error.code)) throw error;
      results.push({ status: 'rejected', reason: error });
    }
    onProgress?.({ done: results.length, total: texts.length });
  }
  return results;
}
