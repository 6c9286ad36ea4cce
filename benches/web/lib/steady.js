/** The warm engines' part: what is asked of them, and the page that asks. */

import { complaintsOf } from '../../../tests/web/lib/browser.js';
import { OWN, PEERS } from './cells.js';
import { PACKAGES } from './qwen/site.js';

/** @typedef {import('../../../tests/web/lib/browser.js').Browser} Browser */
/** @typedef {import('../page/steady.js').Measured} Measured */
/** @typedef {import('../page/steady.js').Plan} Plan */

/** onnxruntime-web's second thread spins for up to about 10 ms after its work is done. */
const PAUSE_MS = 25;

/**
 * @param {object} options
 * @param {string[]} options.messages
 * @param {number} options.rounds
 * @param {string} [options.pack] Address of the model for ours.
 * @returns {Plan}
 */
export function plan({ messages, rounds, pack }) {
  /** @type {Plan['engines']} */
  const own = OWN.map(({ name, kernels, threads }) => ({ name, choice: { kind: 'ours', base: PACKAGES[kernels], pack, threads } }));
  /** @type {Plan['engines']} */
  const peers = PEERS.map(({ name, precision, threads }) => ({ name, choice: { kind: 'ort', precision, threads } }));
  return {
    engines: [...own, ...peers],
    messages,
    warmUps: 3,
    rounds,
    pauseMs: PAUSE_MS,
    seed: 13,
  };
}

/**
 * @param {Browser} browser
 * @param {string} origin
 * @param {Plan} plan
 * @param {(text: string) => void} say
 * @returns {Promise<Measured[]>}
 */
export async function run(browser, origin, plan, say) {
  const context = await browser.newContext();
  const complaints = complaintsOf(context);
  const page = await context.newPage();
  await page.exposeFunction('say', say);
  await page.goto(`${origin}/`);
  const measured = await page.evaluate(async (plan) => {
    const { measure } = await import('/steady.js');
    return measure(plan, window.say);
  }, plan);
  await context.close();
  if (complaints.length > 0) throw new Error(`the page complained: ${complaints.join('; ')}`);
  return measured;
}
