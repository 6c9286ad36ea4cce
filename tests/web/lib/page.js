/** The page as a person uses it. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** @typedef {import('./browser.js').Page} Page */

/** A message that is nothing but trouble for a page that shows it as markup. */
export const MARKUP = `<img src=x onerror="document.title='harmed'"><script>document.title='harmed'</script><b>refund</b> my bill`;

/**
 * Sends a message and waits for its answer.
 *
 * @param {Page} page
 * @param {string} text
 */
export async function send(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
  await page.waitForFunction((expected) => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent === expected, text);
}

/**
 * @param {Page} page
 * @returns {Promise<{ messages: string, local: string, escalated: string, bytes: string }>}
 */
export function tally(page) {
  return page.evaluate(() => {
    const read = (/** @type {string} */ name) => document.getElementById(`count-${name}`)?.textContent ?? '';
    return { messages: read('messages'), local: read('local'), escalated: read('escalated'), bytes: read('bytes') };
  });
}

/**
 * @param {Page} page
 * @param {string} status
 */
export async function waitForInbox(page, status = 'Live') {
  await page.waitForFunction((status) => document.querySelector('#inbox-status')?.textContent === status, status);
}

/**
 * Gives the batch tab a file, and classifies its rows. The file is one on the disk: bytes from here would be unpacked in the
 * page, which a large file holds up.
 *
 * @param {Page} page
 * @param {string} name
 * @param {string} text
 */
export async function batch(page, name, text) {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-batch-'));
  try {
    writeFileSync(join(folder, name), text);
    await page.click('#tab-batch');
    await page.setInputFiles('#batch-file', join(folder, name));
    await page.waitForFunction((name) => document.querySelector('#batch-setup:not([hidden]) #batch-name')?.textContent === name, name);
    await page.click('#batch-run');
    await page.waitForFunction(() => /^[\d,]+ rows? in /.test(document.querySelector('#batch-status')?.textContent ?? ''), null, { timeout: 300_000 });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * @param {Page} page
 * @returns {Promise<string[][]>} Cells of the rows that are in the document.
 */
export function tableRows(page) {
  return page.evaluate(() =>
    Array.from(document.querySelectorAll('#batch-rows tr'), (row) => Array.from(row.children, (cell) => cell.textContent ?? '')),
  );
}

/** @param {Page} page */
export async function evaluate(page) {
  await page.click('#tab-evaluation');
  await page.click('#evaluation-run');
  await page.waitForSelector('#evaluation-results:not([hidden])', { timeout: 300_000 });
}
