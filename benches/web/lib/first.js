/** From navigation to the first answer: a new browser with an empty profile for every start. */

import { complaintsOf, launch } from '../../../tests/web/lib/browser.js';
import { spread } from './statistics.js';

/** @typedef {import('../page/first.js').FirstAnswer} FirstAnswer */
/** @typedef {import('./statistics.js').Spread} Spread */

/**
 * @typedef {object} FirstCell
 * @property {string} engine
 * @property {Spread} ms
 * @property {number} bytes What came over the wire, bodies as they were compressed.
 * @property {FirstAnswer[]} starts
 */

/** Time for a new browser to come to rest before the clock starts, in milliseconds. */
const SETTLE_MS = 1_500;

/** Longest that one start may take, in milliseconds. */
const LIMIT_MS = 120_000;

/**
 * @param {string} origin
 * @param {number} starts Of each engine, in turns.
 * @param {string | undefined} pack Address of the model for ours.
 * @param {(text: string) => void} say
 * @returns {Promise<FirstCell[]>}
 */
export async function firstAnswers(origin, starts, pack, say) {
  const query = pack === undefined ? '' : `?pack=${encodeURIComponent(pack)}`;
  const pages = [
    { engine: 'relayops-intent', path: `/first-ours.html${query}` },
    { engine: 'onnxruntime-web fp32', path: '/first-ort.html?precision=fp32' },
    { engine: 'onnxruntime-web int8', path: '/first-ort.html?precision=int8' },
  ].map((page) => ({ ...page, told: /** @type {FirstAnswer[]} */ ([]), bytes: 0 }));
  for (let start = 0; start < starts; start += 1) {
    for (const page of pages) {
      const { told, bytes } = await oneStart(`${origin}${page.path}`);
      page.told.push(told);
      page.bytes = bytes;
    }
    say(`start ${start + 1} of ${starts}`);
  }
  return pages.map(({ engine, told, bytes }) => ({ engine, ms: spread(told.map(({ ms }) => ms)), bytes, starts: told }));
}

/**
 * @param {string} url
 * @returns {Promise<{ told: FirstAnswer, bytes: number }>}
 */
async function oneStart(url) {
  const browser = await launch();
  try {
    const context = await browser.newContext();
    const complaints = complaintsOf(context);
    /** @type {Promise<number>[]} */
    const sizes = [];
    context.on('requestfinished', (request) => sizes.push(request.sizes().then((size) => size.responseBodySize)));
    const page = await context.newPage();
    await page.waitForTimeout(SETTLE_MS);
    await page.goto(url);
    await page.waitForFunction(() => window.firstAnswer !== undefined, null, { timeout: LIMIT_MS });
    const told = await page.evaluate(() => window.firstAnswer);
    if (told === undefined || told.error !== '' || complaints.length > 0) {
      throw new Error(`${url}: ${told?.error} ${complaints.join('; ')}`);
    }
    const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    return { told, bytes };
  } finally {
    await browser.close();
  }
}
