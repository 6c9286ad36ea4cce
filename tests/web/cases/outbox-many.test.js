/** Many messages: what is read and written grows with what is done, not with what lies there. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INBOX, UNLIMITED, entries, inbox, postsOf, waitForCounts } from '../lib/escalation.js';
import { openOutbox, put, stored } from '../lib/outbox.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const web = suite({ args: UNLIMITED });

/** One attempt, and none after it. @param {import('../lib/browser.js').BrowserContext} context */
const askToWait = (context) => context.route(`**${INBOX}`, (route) => route.fulfill({ status: 503, headers: { 'retry-after': '600' } }));

/**
 * Counts from now on what the page asks of its databases.
 *
 * @param {Page} page
 * @returns {Promise<() => Promise<{ transactions: number, records: number, steps: number, writes: number }>>} Records are
 *   those that were read with their bodies.
 */
async function counting(page) {
  await page.evaluate(() => {
    const counted = { transactions: 0, records: 0, steps: 0, writes: 0 };
    /** @type {(prototype: any, name: string, note: (request: any) => void) => void} */
    const wrap = (prototype, name, note) => {
      const original = prototype[name];
      prototype[name] = function (/** @type {unknown[]} */ ...args) {
        const request = original.apply(this, args);
        note(request);
        return request;
      };
    };
    const read = (/** @type {IDBRequest} */ request) => request.addEventListener('success', () => (counted.records += [request.result ?? []].flat().length));
    wrap(IDBDatabase.prototype, 'transaction', () => (counted.transactions += 1));
    for (const prototype of [IDBIndex.prototype, IDBObjectStore.prototype]) {
      wrap(prototype, 'get', read);
      wrap(prototype, 'getAll', read);
      wrap(prototype, 'openCursor', () => (counted.records += 1));
      wrap(prototype, 'openKeyCursor', () => (counted.steps += 1));
    }
    wrap(IDBCursor.prototype, 'continue', () => (counted.steps += 1));
    for (const name of ['put', 'delete']) wrap(IDBObjectStore.prototype, name, () => (counted.writes += 1));
    Object.assign(window, { counted });
  });
  return () => page.evaluate(() => /** @type {any} */ (window).counted);
}

test('1,000 messages go in order, each once, and no more is read for each than for one', async () => {
  const count = 1_000;
  await web.withPage(
    async ({ page, context }) => {
      const before = (await inbox(web.origin())).length;
      await openOutbox(page);
      const texts = Array.from({ length: count }, (_, index) => `message ${String(index).padStart(4, '0')}`);
      const adding = await counting(page);
      const keys = await put(page, texts);
      await waitForCounts(page, { queued: count, sent: 0, failed: 0 });
      const added = await adding();
      assert.ok(added.records < count, `${JSON.stringify(added)} while adding`);
      const posts = postsOf(context);
      await context.unroute(`**${INBOX}`);
      await page.evaluate(() => Object.assign(/** @type {any} */ (window).counted, { transactions: 0, records: 0, steps: 0, writes: 0 }));
      const started = Date.now();
      await page.evaluate(() => window.outbox.flush());
      const ms = Date.now() - started;
      const drained = await adding();
      console.log(`MEASURED outbox: ${count} messages sent in ${ms} ms; ${JSON.stringify(drained)}`);
      assert.deepEqual(await page.evaluate(() => window.outbox.counts()), { queued: 0, sent: 200, failed: 0 });
      const kept = await entries(page);
      assert.deepEqual(kept.map(({ key }) => key).toSorted(), posts.slice(-200).map(({ key }) => key).toSorted(), 'those that went last are known');
      assert.equal(posts.length, count);
      assert.deepEqual(posts.map(({ key }) => key).toSorted(), keys.toSorted());
      const arrived = (await inbox(web.origin())).slice(0, -before || undefined).map(({ text }) => text).reverse();
      // The first was tried while all of them waited.
      assert.deepEqual(arrived, [...texts.slice(1), texts[0]]);
      // To make them due: all of them once. Then for each: itself to be sent, itself to be marked.
      assert.ok(drained.records <= 3 * count + 10, `${drained.records} records read`);
      assert.ok(drained.transactions <= 2 * count + 20, `${drained.transactions} transactions`);
      assert.ok(drained.steps <= 3 * count + 20, `${drained.steps} steps of cursors`);
      assert.ok(drained.writes <= 3 * count + 20, `${drained.writes} writes`);
      assert.doesNotMatch(await stored(page), /message/);
    },
    askToWait,
  );
});

test('looking at the counts reads no message', async () => {
  await web.withPage(
    async ({ page }) => {
      await openOutbox(page);
      await put(page, Array.from({ length: 50 }, (_, index) => `message ${index}`));
      // The attempt that is told to wait is over, or it would be counted too.
      await page.waitForFunction(async () => (await window.outbox.list()).some(({ attempts }) => attempts > 0));
      await page.waitForTimeout(500);
      const counted = await counting(page);
      assert.deepEqual(await page.evaluate(() => window.outbox.counts()), { queued: 50, sent: 0, failed: 0 });
      assert.equal((await counted()).records, 0, JSON.stringify(await counted()));
    },
    askToWait,
  );
});

test('messages that an earlier version stored are sent', async () => {
  await web.withPage(async ({ page, context }) => {
    const posts = postsOf(context);
    await page.evaluate(async (url) => {
      const request = indexedDB.open('relayops-intent-outbox', 1);
      request.onupgradeneeded = () => {
        const items = request.result.createObjectStore('items', { keyPath: 'key' });
        items.createIndex('by-url', ['url', 'createdMs']);
      };
      await new Promise((resolve) => (request.onsuccess = resolve));
      const now = Date.now();
      const transaction = request.result.transaction('items', 'readwrite');
      transaction.objectStore('items').put({
        key: '00000000-0000-4000-8000-000000000000', url: new URL(url, location.href).href, state: 'queued', intent: 'billing', reason: 'intent:billing',
        redactions: [], attempts: 2, createdMs: now - 1_000, expiresMs: now + 3_600_000, nextMs: 0, pausedUntilMs: 0, id: null, error: null,
        body: {
          text: 'refund my bill', intent: 'billing', reason: 'intent:billing', stage: 'compact', confidence: 1, probabilities: { billing: 1 }, redactions: [],
          truncated: false, created_ms: now - 1_000,
        },
      });
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      // As a page of that version that is still open.
      request.result.onversionchange = () => request.result.close();
    }, INBOX);
    await openOutbox(page);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    assert.equal(posts.length, 1);
    assert.equal(await page.evaluate(() => window.outbox.durable), true);
  });
});
