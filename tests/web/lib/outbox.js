/** What the browser keeps of the outbox, and tabs that share it. */

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
