/** The outbox among what refuses, hangs, fills up or goes away: one fault holds up nothing but itself. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INBOX, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
import { newTab, openOutbox, put, stored } from '../lib/outbox.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('../lib/browser.js').Page} Page */
/** @typedef {import('../lib/browser.js').BrowserContext} BrowserContext */

const web = suite({ args: UNLIMITED });

const lastId = async () => (await inbox(web.origin()))[0]?.id ?? 0;
/** Texts of the inbox after item `id`, in the order of the alphabet. @param {number} id */
const textsSince = async (id) => (await inbox(web.origin())).filter((item) => item.id > id).map(({ text }) => text).toSorted();

/**
 * What stands between refuses some messages for what they say.
 *
 * @param {BrowserContext} context
 * @param {(route: import('playwright-core').Route) => Promise<void>} refuse
 */
function refusePoison(context, refuse) {
  return context.route(`**${INBOX}`, (route) => (route.request().postData()?.includes('poison') ? refuse(route) : route.continue()));
}

for (const [name, refuse] of /** @type {const} */ ([
  ['answers 403', (/** @type {import('playwright-core').Route} */ route) => route.fulfill({ status: 403, body: 'forbidden' })],
  // As every answer of another origin without CORS looks.
  ['breaks off', (/** @type {import('playwright-core').Route} */ route) => route.abort()],
])) {
  test(`a message that somebody in between ${name} to holds up no other`, async () => {
    await web.withPage(
      async ({ page, context }) => {
        const before = await lastId();
        await openOutbox(page);
        const [poison] = await put(page, ['poison', 'A', 'B']);
        await waitForCounts(page, { queued: 1, sent: 2, failed: 0 });
        assert.deepEqual(await textsSince(before), ['A', 'B']);
        // It is tried again, ever more seldom, and what comes meanwhile does not wait for it.
        while (((await entries(page))[0]?.attempts ?? 0) < 4) await page.waitForTimeout(50);
        const posts = postsOf(context);
        const asked = Date.now();
        await put(page, ['C']);
        await waitForCounts(page, { queued: 1, sent: 3, failed: 0 });
        assert.ok(posts[0].at - asked < 1_000, `after ${posts[0].at - asked} ms`);
        const [first] = await entries(page);
        assert.deepEqual([first.key, first.state, first.text], [poison, 'queued', 'poison']);
      },
      (context) => refusePoison(context, refuse),
    );
  });
}

test('a server that asks to wait is waited for, also where one message is refused all the time', async () => {
  await web.withPage(
    async ({ page, context }) => {
      await openOutbox(page);
      await put(page, ['poison', 'A']);
      await waitForCounts(page, { queued: 1, sent: 1, failed: 0 });
      await context.route(`**${INBOX}`, (route) => route.fulfill({ status: 503, headers: { 'retry-after': '600' } }));
      const posts = postsOf(context);
      await waitForError(page, 'http_503');
      await put(page, ['B', 'C']);
      await page.waitForTimeout(1_500);
      assert.equal(posts.length, 1);
    },
    (context) => refusePoison(context, (route) => route.fulfill({ status: 403 })),
  );
});

test('a token that never comes ends with the outbox, and lets another tab send', async () => {
  await web.withPage(async ({ page }) => {
    const before = await lastId();
    const other = await newTab(page);
    await page.evaluate(async (url) => {
      const { Outbox } = await import('/pkg/index.js');
      let ask = () => {};
      const asked = new Promise((resolve) => (ask = () => resolve(undefined)));
      const token = () => (ask(), /** @type {Promise<string>} */ (new Promise(() => {})));
      Object.assign(window, { asked });
      window.outbox = await Outbox.open({ url, token });
    }, INBOX);
    await put(page, ['A']);
    await page.evaluate(() => /** @type {any} */ (window).asked);
    await openOutbox(other);
    await put(other, ['B']);
    assert.equal(await lastId(), before);
    await page.evaluate(() => window.outbox.close());
    await waitForCounts(other, { queued: 0, sent: 2, failed: 0 });
    assert.deepEqual(await textsSince(before), ['A', 'B']);
  });
});

test('a token that never comes is given up after 30 seconds, and asked for again', async () => {
  await web.withPage(async ({ page }) => {
    const before = await lastId();
    await page.clock.install();
    await page.evaluate(async (url) => {
      const { Outbox } = await import('/pkg/index.js');
      const given = [new Promise(() => {}), 'word'];
      const token = () => /** @type {Promise<string>} */ (given.shift());
      window.outbox = await Outbox.open({ url, token });
      window.clf = /** @type {any} */ ({ outbox: window.outbox });
    }, INBOX);
    await put(page, ['A']);
    await page.waitForTimeout(300);
    assert.deepEqual((await entries(page)).map(({ attempts }) => attempts), [0]);
    await page.clock.fastForward(30_000);
    await waitForError(page, 'token');
    await page.clock.fastForward(2_000);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    assert.deepEqual(await textsSince(before), ['A']);
  });
});

test('a redaction that never ends withholds the text, and turning off does not wait for it for ever', async () => {
  await web.withPage(async ({ page, context }) => {
    const posts = postsOf(context);
    await page.clock.install();
    await page.evaluate(async (url) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      window.clf = await IntentClassifier.load({ escalation: { url, redact: () => new Promise(() => {}) } });
      await window.clf.classify('refund my bill');
    }, INBOX);
    await page.clock.fastForward(10_000);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    assert.deepEqual(posts.map(({ body }) => JSON.parse(body)).map(({ text, redactions }) => [text, redactions]), [['[message withheld: its redaction failed]', ['withheld']]]);
    await page.evaluate(async () => {
      await window.clf.classify('refund my other bill');
      Object.assign(window, { off: window.clf.setEscalation('off') });
    });
    await page.clock.fastForward(10_000);
    await page.evaluate(() => /** @type {any} */ (window).off);
    assert.equal(posts.length, 1);
    const [, second] = JSON.parse(await stored(page)).toSorted((/** @type {any} */ left, /** @type {any} */ right) => left.createdMs - right.createdMs);
    assert.deepEqual([second.state, second.error.code, second.redactions], ['failed', 'off', ['withheld']]);
  });
});

test('what a full disk does not take is sent from memory, also after new settings, and each outbox is closed when it holds nothing', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const before = await lastId();
      await load(page);
      await page.evaluate(() => {
        const { put } = IDBObjectStore.prototype;
        Object.assign(window, { free: () => (IDBObjectStore.prototype.put = put) });
        IDBObjectStore.prototype.put = () => {
          throw new DOMException('full', 'QuotaExceededError');
        };
      });
      await classifyAll(page, ['refund my bill']);
      await waitForError(page, 'network');
      assert.equal(await stored(page), '[]');
      await page.evaluate(async (url) => {
        const former = /** @type {import('/pkg/index.js').Outbox} */ (window.clf.outbox);
        Object.assign(window, { former, durable: [former.durable] });
        await window.clf.setEscalation({ url, maxAgeMs: 60_000 });
        /** @type {any} */ (window).free();
      }, INBOX);
      assert.deepEqual(await page.evaluate(() => [.../** @type {any} */ (window).durable, window.clf.outbox?.durable]), [false, true]);
      await classifyAll(page, ['refund my other bill']);
      await context.unroute(`**${INBOX}`);
      await page.evaluate(() => window.dispatchEvent(new Event('online')));
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      const deadline = Date.now() + 15_000;
      while ((await lastId()) < before + 2 && Date.now() < deadline) await page.waitForTimeout(50);
      assert.deepEqual(await textsSince(before), ['refund my bill', 'refund my other bill']);
      await page.waitForFunction(async () => (await window.outcome(/** @type {any} */ (window).former.list())).code === 'disposed');
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('a database that goes away under it is opened again', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const before = await lastId();
      await openOutbox(page);
      await put(page, ['A']);
      await waitForError(page, 'network');
      // As a page that erases what the site keeps.
      await page.evaluate(async () => {
        const request = indexedDB.deleteDatabase('relayops-intent-outbox');
        await new Promise((resolve, reject) => ((request.onsuccess = resolve), (request.onerror = request.onblocked = reject)));
      });
      await put(page, ['B']);
      assert.equal(await page.evaluate(() => window.outbox.durable), true);
      assert.deepEqual((await entries(page)).map(({ text }) => text), ['B']);
      assert.match(await stored(page), /"B"/);
      await context.unroute(`**${INBOX}`);
      await page.evaluate(() => window.outbox.flush());
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      assert.deepEqual(await textsSince(before), ['B']);
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('a database that never opens is done without', async () => {
  await web.withPage(
    async ({ page }) => {
      const before = await lastId();
      const started = Date.now();
      await load(page);
      assert.ok(Date.now() - started < 20_000);
      assert.equal(await page.evaluate(() => window.clf.outbox?.durable), false);
      await classifyAll(page, ['refund my bill']);
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      assert.deepEqual(await textsSince(before), ['refund my bill']);
    },
    (context) =>
      context.addInitScript(() => {
        IDBFactory.prototype.open = () => /** @type {any} */ (new EventTarget());
      }),
  );
});

test('a closed outbox says so, and one that was stopped sends nothing', async () => {
  await web.withPage(async ({ page }) => {
    await openOutbox(page);
    const codes = await page.evaluate(async () => {
      const { outbox } = window;
      const calls = () => [outbox.list(), outbox.counts(), outbox.flush(), outbox.retry(), outbox.clear()];
      const codes = async () => Promise.all(calls().map(async (call) => (await window.outcome(/** @type {Promise<unknown>} */ (call))).code));
      outbox.stopSending();
      const stopped = await codes();
      outbox.close();
      return [stopped, await codes()];
    });
    assert.deepEqual(codes, [['fulfilled', 'fulfilled', 'unavailable', 'unavailable', 'fulfilled'], Array(5).fill('disposed')]);
  });
});

test('clearing ends what is under way, in every tab, and all of them hear of it', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const other = await newTab(page);
      const asked = context.waitForEvent('request', (request) => request.method() === 'POST');
      await openOutbox(page);
      await put(page, ['A']);
      const request = await asked;
      await openOutbox(other);
      for (const tab of [page, other]) {
        await tab.evaluate(() => Object.assign(window, { cleared: new Promise((resolve) => window.outbox.addEventListener('cleared', () => resolve(true))) }));
      }
      const failed = context.waitForEvent('requestfailed', (failed) => failed === request);
      await other.evaluate(() => window.outbox.clear());
      await failed;
      for (const tab of [page, other]) assert.equal(await tab.evaluate(() => /** @type {any} */ (window).cleared), true);
      await put(page, ['B']);
      await context.waitForEvent('request', (request) => request.method() === 'POST' && request.postData()?.includes('"B"') === true);
      const own = context.waitForEvent('requestfailed');
      await page.evaluate(() => window.outbox.clear());
      await own;
      assert.equal(await stored(page), '[]');
    },
    // Never answered.
    (context) => context.route(`**${INBOX}`, () => undefined),
  );
});
