/** What the browser keeps of the outbox, and tabs that share it. */

import { INBOX } from './escalation.js';

/** @typedef {import('./browser.js').Page} Page */

/** @param {Page} page @returns {Promise<string>} All of it, as JSON. */
export function stored(page) {
  return page.evaluate(async () => {
    const database = await new Promise((resolve) => {
      const request = indexedDB.open('relayops-intent-outbox');
      request.onsuccess = () => resolve(request.result);
    });
    return new Promise((resolve) => {
      const request = /** @type {IDBDatabase} */ (database).transaction('items').objectStore('items').getAll();
      request.onsuccess = () => {
        /** @type {IDBDatabase} */ (database).close();
        resolve(JSON.stringify(request.result));
      };
    });
  });
}

/**
 * Waits until nothing that is stored matches.
 *
 * @param {Page} page
 * @param {RegExp} pattern
 * @param {() => Promise<void>} [meanwhile] Done before each further look.
 */
export async function waitUntilErased(page, pattern, meanwhile) {
  const deadline = Date.now() + 15_000;
  while (pattern.test(await stored(page))) {
    if (Date.now() > deadline) throw new Error(`still there: ${await stored(page)}`);
    await meanwhile?.();
    await page.waitForTimeout(100);
  }
}

/** @param {Page} page @returns {Promise<Page>} Another tab of its browser, with the inbox's page. */
export async function newTab(page) {
  const other = await page.context().newPage();
  await other.goto(new URL('/inbox.html', page.url()).href);
  return other;
}

/**
 * Opens the inbox's outbox without a classifier; it is the one of `lib/escalation.js`, too.
 *
 * @param {Page} page
 */
export async function openOutbox(page) {
  await page.evaluate(async (url) => {
    const { Outbox } = await import('/pkg/index.js');
    window.outbox = await Outbox.open({ url });
    window.clf = /** @type {any} */ ({ outbox: window.outbox });
  }, INBOX);
}

/**
 * Escalates without a classifier.
 *
 * @param {Page} page
 * @param {string[]} texts
 * @returns {Promise<string[]>} Their keys, when all are stored.
 */
export function put(page, texts) {
  return page.evaluate(async (texts) => {
    /** @type {import('/pkg/index.js').ClassifyResult} */
    const result = {
      intent: 'billing', json: '{"intent": "billing"}', confidence: 1, probabilities: { billing: 1 }, margin: 1,
      decision: { route: 'escalate', reason: 'intent:billing' }, stage: 'compact', backend: 'cpu', threads: 1, ms: 1,
    };
    const keys = texts.map((text) => window.outbox.enqueue(text, result));
    await window.outbox.stored();
    return keys;
  }, texts);
}
