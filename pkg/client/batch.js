/**
 * Many messages, in groups that share what they cost.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { fromWire } from '../protocol.js';
import { abortedBy } from './worker-client.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('../protocol.js').BatchOutcome} BatchOutcome */

/** Codes after which no further message can be answered. */
const FINAL = ['aborted', 'disposed', 'worker_failed'];

/** A group has at least so many messages: fewer share too little. */
const LEAST = 4;

/** And at most so many. */
const MOST = 32;

/** What a group of more than the least may take, in milliseconds: other calls wait for it, and an abort does. */
const GROUP_MS = 100;

/**
 * A group is asked only when the one before is answered, so a single call in between waits for one of these at most.
 *
 * @param {string[]} texts
 * @param {number} stages How many models the classifier has.
 * @param {(group: string[]) => Promise<BatchOutcome[]>} ask
 * @param {((progress: import('../api.js').BatchProgress) => void) | undefined} onProgress
 * @param {AbortSignal} [signal]
 * @returns {Promise<PromiseSettledResult<ClassifyResult>[]>} In the order of the texts.
 * @throws {IntentError} `aborted`, and whatever `ask` rejects with.
 */
export async function runBatch(texts, stages, ask, onProgress, signal) {
  /** @type {PromiseSettledResult<ClassifyResult>[]} */
  const results = [];
  const size = new GroupSize(stages);
  while (results.length < texts.length) {
    const outcomes = await ask(texts.slice(results.length, results.length + size.next()));
    for (const outcome of outcomes) {
      // It may come between two messages that were answered together.
      if (signal?.aborted) throw abortedBy(signal);
      results.push('result' in outcome ? { status: 'fulfilled', value: outcome.result } : { status: 'rejected', reason: fromWire(outcome.error) });
      onProgress?.({ done: results.length, total: texts.length });
    }
    size.learn(outcomes);
  }
  return results;
}

/** How many messages of the next group take no longer than they may, by the slowest one so far. */
class GroupSize {
  #stages;
  #size = LEAST;
  #slowestMs = 0;
  /** Most models that one message was asked of. */
  #asked = 0;

  /** @param {number} stages */
  constructor(stages) {
    this.#stages = stages;
  }

  next() {
    // What a model takes that has not been asked yet is not known.
    if (this.#asked < this.#stages) return LEAST;
    const fitting = Math.floor(GROUP_MS / Math.max(this.#slowestMs, 1));
    this.#size = Math.max(LEAST, Math.min(MOST, 2 * this.#size, fitting));
    return this.#size;
  }

  /** @param {BatchOutcome[]} outcomes Of a group, each with its share of the group's time. */
  learn(outcomes) {
    for (const outcome of outcomes) {
      // A message that was not read says nothing of those that are.
      if (!('result' in outcome) || !outcome.result.probabilities) continue;
      this.#slowestMs = Math.max(this.#slowestMs, outcome.result.ms);
      this.#asked = Math.max(this.#asked, outcome.result.stages?.length ?? 1);
    }
  }
}

/**
 * The messages of a group one after the other, for what only single messages can be asked.
 *
 * @param {string[]} group
 * @param {(text: string) => Promise<ClassifyResult>} ask
 * @returns {Promise<BatchOutcome[]>}
 * @throws {IntentError} With one of {@link FINAL}.
 */
export async function askEach(group, ask) {
  /** @type {BatchOutcome[]} */
  const outcomes = [];
  for (const text of group) {
    try {
      outcomes.push({ result: await ask(text) });
    } catch (error) {
      if (!(error instanceof IntentError) || FINAL.includes(error.code)) throw error;
      outcomes.push({ error: { code: error.code, message: error.message } });
    }
  }
  return outcomes;
}
