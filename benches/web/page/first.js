/**
 * Time from navigation to the first answer, told by the page itself.
 *
 * @module
 */

/**
 * @typedef {object} FirstAnswer
 * @property {number} ms From navigation to the answer.
 * @property {Record<string, number>} steps When each step of loading ended, milliseconds from navigation.
 * @property {string} error Empty unless it failed.
 */

/** What the page classifies. */
export const FIRST_MESSAGE = 'my internet is down, can you restart the router please';

/**
 * Loads, asks once, and puts what came of it where the driver looks.
 *
 * @param {(steps: Record<string, number>) => Promise<import('./engines/engine.js').Engine>} load
 */
export async function tellFirstAnswer(load) {
  /** @type {FirstAnswer} */
  const told = { ms: NaN, steps: { script: performance.now() }, error: '' };
  try {
    const engine = await load(told.steps);
    told.steps.load = performance.now();
    await engine.classify(FIRST_MESSAGE);
    told.ms = performance.now();
  } catch (error) {
    told.error = String(error);
  }
  window.firstAnswer = told;
}
