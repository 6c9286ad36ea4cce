/**
 * Engines that are loaded and warm, asked in turns.
 *
 * @module
 */

import { loadOrt } from './engines/ort.js';
import { loadOurs } from './engines/ours.js';
import { randomNumbers } from './random.js';

/** @typedef {import('./engines/engine.js').Answer} Answer */
/** @typedef {import('./engines/engine.js').Engine} Engine */
/** @typedef {import('./engines/engine.js').EngineChoice} EngineChoice */

/**
 * @typedef {object} Plan
 * @property {{ name: string, choice: EngineChoice }[]} engines
 * @property {string[]} messages
 * @property {number} warmUps How often every message is asked before anything counts.
 * @property {number} rounds How often every message is asked of every engine.
 * @property {number} pauseMs Before each call, so that no engine's threads are still at work from the one before.
 * @property {number} seed Of the order of the engines.
 */

/**
 * @typedef {object} Measured
 * @property {string} name
 * @property {Record<string, unknown>} about
 * @property {Answer[]} answers To the messages, in their order.
 * @property {number[][]} ms From the call to its answer, as the page sees it, [message][round].
 * @property {number[][]} engineMs The part inside the engine's Worker, [message][round].
 */

/**
 * @param {Plan} plan
 * @param {(done: string) => void} [onProgress]
 * @returns {Promise<Measured[]>}
 */
export async function measure(plan, onProgress) {
  if (!crossOriginIsolated) throw new Error('the page is not cross-origin isolated');
  const ready = [];
  for (const { name, choice } of plan.engines) {
    const engine = await load(choice);
    ready.push({ engine, result: await warmed(name, engine, plan) });
    onProgress?.(`${name} is warm`);
  }
  const random = randomNumbers(plan.seed);
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const [message, text] of plan.messages.entries()) {
      // Another order each time: who follows whom decides what is left in the caches.
      for (const { engine, result } of shuffled(ready, random)) {
        await new Promise((resolve) => setTimeout(resolve, plan.pauseMs));
        const start = performance.now();
        const { engineMs } = await engine.classify(text);
        result.ms[message].push(performance.now() - start);
        result.engineMs[message].push(engineMs);
      }
    }
    onProgress?.(`round ${round + 1} of ${plan.rounds}`);
  }
  return ready.map(({ result }) => result);
}

/**
 * @param {EngineChoice} choice
 * @returns {Promise<Engine>}
 */
function load(choice) {
  return choice.kind === 'ours' ? loadOurs(choice.pack, choice.threads, undefined, choice.base) : loadOrt(choice.precision, choice.threads);
}

/**
 * Warms the engine up and keeps its answers.
 *
 * @param {string} name
 * @param {Engine} engine
 * @param {Plan} plan
 * @returns {Promise<Measured>}
 */
async function warmed(name, engine, { messages, warmUps }) {
  /** @type {Answer[]} */
  let answers = [];
  for (let count = 0; count < Math.max(1, warmUps); count += 1) {
    answers = [];
    for (const text of messages) answers.push(await engine.classify(text));
  }
  return { name, about: await engine.about(), answers, ms: messages.map(() => []), engineMs: messages.map(() => []) };
}

/**
 * Fisher and Yates.
 *
 * @template T
 * @param {readonly T[]} items
 * @param {() => number} random
 * @returns {T[]}
 */
function shuffled(items, random) {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
