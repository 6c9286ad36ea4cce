/** Rates of the matrix product against its own instruction's. */

import { PACK_FORMATS } from './cells.js';

/** @typedef {import('../../../../tests/web/lib/browser.js').Browser} Browser */
/** @typedef {import('./cells.js').KernelCell} KernelCell */

/** A message's rows: its own, the suffix's and the labels'. */
const TOKENS = 32;

/** The feed-forward layers' two shapes in the model with 0.5B parameters, up and down. */
const SHAPES = [
  { rows: 4864, cols: 896 },
  { rows: 896, cols: 4864 },
];

/** Those of the pack, then those that the original file has besides, where rows are long enough for them. */
const FORMATS = [...PACK_FORMATS, 'Q8_0', 'Q4K', 'Q6K'];

/** Values that a block of a K-quant has. */
const LONG_BLOCK = 256;

/**
 * @param {Browser} browser
 * @param {string} origin
 * @returns {Promise<KernelCell[]>}
 */
export async function kernelCells(browser, origin) {
  const shapes = FORMATS.flatMap((format) =>
    SHAPES.filter(({ cols }) => !format.endsWith('K') || cols % LONG_BLOCK === 0).map((shape) => ({ format, ...shape, tokens: TOKENS })),
  );
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${origin}/qwen.html`);
  const rates = await page.evaluate(async (shapes) => (await import('/qwen.js')).kernelRates(shapes), shapes);
  await context.close();
  return shapes.map((shape, index) => ({ ...shape, ...rates[index] }));
}
