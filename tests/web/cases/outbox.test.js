/** The outbox between settings, servers that ask to wait, and limits: nothing that escalates is lost on the way, and no text outlives its time. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INBOX, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
import { newTab, stored, waitUntilErased } from '../lib/outbox.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const web = suite({ args: UNLIMITED });

/** Texts of the inbox after item `id`, in the order of the alphabet. @param {number} id */
const textsSince = async (id) => (await inbox(web.origin())).filter((item) => item.id > id).map(({ text }) => text).toSorted();
const lastId = async () => (await inbox(web.origin()))[0]?.id ?? 0;

/**
 * Lets messages escalate whose redaction lasts until `window.release()`.
 *
 * @param {Page} page
 */
function redactSlowly(page) {
  return page.evaluate(async (url) => {
    let release = () => {};
    const held = new Promise((resolve) => (release = () => resolve(undefined)));
    Object.assign(window, { release });
    await window.clf.setEscalation({ url, redact: async (text) => (await held, { text, redactions: [] }) });
    await window.clf.classify('refund my bill');
  }, INBOX);
}

/** How often the page looks into its database within half a second. @param {Page} page */
function looks(page) {
  return page.evaluate(async () => {
    const { transaction } = IDBDatabase.prototype;
    let looks = 0;
    IDBDatabase.prototype.transaction = function (...args) {
      looks += 1;
      return transaction.apply(this, args);
    };
    await new Promise((resolve) => setTimeout(resolve, 500));
    IDBDatabase.prototype.transaction = transaction;
    return looks;
  });
}

test('a message that was sent escalates although the customer types on at once', async () => {
  await web.withPage(async ({ page }) => {
    const before = await lastId();
    await load(page);
    await page.evaluate(async () => {
      const typing = window.clf.session();
      const sent = [typing.submit('refund my bill'), typing.submit('refund my other bill')];
      await window.outcome(typing.update('o'));
      await Promise.all(sent);
    });
    await waitForCounts(page, { queued: 0, sent: 2, failed: 0 });
    assert.deepEqual(await textsSince(before), ['refund my bill', 'refund my other bill']);
  });
});

test('what escalated just before dispose() waits, and is delivered by the next classifier', async () => {
  await web.withPage(async ({ page, context }) => {
    const [before, posts] = [await lastId(), postsOf(context)];
    await load(page);
    const key = await page.evaluate(async () => {
      const { escalation } = await window.clf.classify('refund my bill');
      window.clf.dispose();
      return escalation;
    });
    await page.waitForTimeout(1_000);
    const [record] = JSON.parse(await stored(page));
    assert.deepEqual([record.key, record.state, record.error, posts.length], [key, 'queued', null, 0]);
    await load(page);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    assert.deepEqual(posts.map((post) => post.key), [key]);
    assert.deepEqual(await textsSince(before), ['refund my bill']);
  });
});

test('what a classifier leaves behind is sent by another tab that is open', async () => {
  await web.withPage(async ({ page }) => {
    const before = await lastId();
    const other = await newTab(page);
    await Promise.all([load(page), load(other)]);
    await page.evaluate(async () => {
      await window.clf.classify('refund my bill');
      window.clf.dispose();
    });
    await waitForCounts(other, { queued: 0, sent: 1, failed: 0 });
    assert.deepEqual(await textsSince(before), ['refund my bill']);
  });
});

test('new settings lose nothing: neither what is answered while they open, nor what is still being stored', async () => {
  await web.withPage(async ({ page }) => {
    const before = await lastId();
    await load(page);
    const escalated = await page.evaluate(async (url) => {
      const { open } = IDBFactory.prototype;
      let release = () => {};
      const held = new Promise((resolve) => (release = () => resolve(undefined)));
      IDBFactory.prototype.open = function (...args) {
        const request = open.apply(this, args);
        const set = (/** @type {() => void} */ listener) => request.addEventListener('success', () => void held.then(listener));
        return Object.defineProperty(request, 'onsuccess', { set });
      };
      const first = await window.clf.classify('refund my bill');
      const opening = window.clf.setEscalation({ url, maxAgeMs: 60_000 });
      const second = await window.clf.classify('refund my other bill');
      release();
      await opening;
      IDBFactory.prototype.open = open;
      const third = await window.clf.classify('refund all my bills');
      return [first, second, third].map(({ escalation }) => typeof escalation);
    }, INBOX);
    assert.deepEqual(escalated, ['string', 'string', 'string']);
    await waitForCounts(page, { queued: 0, sent: 3, failed: 0 });
    await redactSlowly(page);
    await page.evaluate(async (url) => {
      await window.clf.setEscalation({ url });
      /** @type {any} */ (window).release();
    }, INBOX);
    await waitForCounts(page, { queued: 0, sent: 4, failed: 0 });
    assert.deepEqual(await textsSince(before), ['refund all my bills', 'refund my bill', 'refund my bill', 'refund my other bill']);
  });
});

test('new settings lose nothing where messages wait in memory', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const before = await lastId();
      await load(page);
      await classifyAll(page, ['refund my bill']);
      await waitForError(page, 'network');
      await page.evaluate((url) => window.clf.setEscalation({ url }), INBOX);
      assert.equal(await page.evaluate(() => window.clf.outbox?.durable), false);
      await context.unroute(`**${INBOX}`);
      await classifyAll(page, ['refund my other bill']);
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      const deadline = Date.now() + 15_000;
      while ((await lastId()) < before + 2 && Date.now() < deadline) await page.waitForTimeout(50);
      assert.deepEqual(await textsSince(before), ['refund my bill', 'refund my other bill']);
      // And all of them end with the switch.
      await context.route(`**${INBOX}`, (route) => route.abort());
      await classifyAll(page, ['refund it all']);
      await page.evaluate(async (url) => {
        await window.clf.setEscalation({ url });
        await window.clf.setEscalation('off');
      }, INBOX);
      await context.unroute(`**${INBOX}`);
      const posts = postsOf(context);
      await page.evaluate(() => window.dispatchEvent(new Event('online')));
      await page.waitForTimeout(2_500);
      assert.deepEqual(posts, []);
    },
    async (context) => {
      await context.route(`**${INBOX}`, (route) => route.abort());
      await context.addInitScript(() => {
        IDBFactory.prototype.open = () => {
          throw new DOMException('denied', 'SecurityError');
        };
      });
    },
  );
});

test('turned off, also what former settings are still storing is sent by no tab', async () => {
  await web.withPage(async ({ page, context }) => {
    const other = await newTab(page);
    await Promise.all([load(page), load(other)]);
    const posts = postsOf(context);
    await redactSlowly(page);
    await page.evaluate(async (url) => {
      await window.clf.setEscalation({ url });
      const off = window.clf.setEscalation('off');
      /** @type {any} */ (window).release();
      // At once: what is being taken back is taken back all the same.
      window.clf.dispose();
      await off;
    }, INBOX);
    await other.evaluate(() => window.clf.outbox?.flush());
    await other.waitForTimeout(1_000);
    assert.deepEqual(posts, []);
    assert.deepEqual((await entries(other)).map(({ state, error }) => [state, error?.code]), [['failed', 'off']]);
  });
});

test('a network that comes and goes does not shorten what a server asks to wait, which is an hour at the most', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const posts = postsOf(context);
      await load(page);
      await classifyAll(page, ['refund my bill']);
      await waitForError(page, 'rate_limited');
      for (let turn = 0; turn < 4; turn += 1) {
        await page.evaluate(() => window.dispatchEvent(new Event('online')));
        await classifyAll(page, ['refund my other bill']);
        await page.waitForTimeout(300);
      }
      assert.equal(posts.length, 1);
      assert.equal(await looks(page), 0, 'nobody looks at the database while all wait');
      const [first] = await entries(page);
      const wait = (first.nextMs ?? 0) - posts[0].at;
      assert.ok(wait > 59 * 60_000 && wait < 61 * 60_000, `${wait} ms`);
      // Asked for by the application, it is tried all the same.
      await page.evaluate(() => window.clf.outbox?.flush());
      assert.equal(posts.length, 2);
    },
    (context) => {
      const headers = { 'retry-after': '86400', 'content-type': 'application/json' };
      return context.route(`**${INBOX}`, (route) => route.fulfill({ status: 429, headers, body: '{"error": {"code": "rate_limited"}}' }));
    },
  );
});

test('what met no server is tried at once when the network is back', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const posts = postsOf(context);
      await load(page);
      await classifyAll(page, ['refund my bill']);
      // By then the next wait is two seconds or more.
      while (((await entries(page))[0]?.attempts ?? 0) < 3) await page.waitForTimeout(50);
      const made = posts.length;
      await context.unroute(`**${INBOX}`);
      const started = Date.now();
      await page.evaluate(() => window.dispatchEvent(new Event('online')));
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      assert.equal(posts.length, made + 1);
      assert.ok(posts[made].at - started < 1_000, `after ${posts[made].at - started} ms`);
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('where 1,000 messages wait the next one fails, says so, and leaves no text', async () => {
  await web.withPage(async ({ page, context }) => {
    const posts = postsOf(context);
    await load(page);
    // No outbox is open meanwhile. They wait for most of an hour.
    await page.evaluate(async (url) => {
      window.clf.dispose();
      const database = await new Promise((resolve) => {
        const request = indexedDB.open('relayops-intent-outbox');
        request.onsuccess = () => resolve(request.result);
      });
      const transaction = /** @type {IDBDatabase} */ (database).transaction('items', 'readwrite');
      const now = Date.now();
      for (let index = 0; index < 999; index += 1) {
        transaction.objectStore('items').put({
          key: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`, url: new URL(url, location.href).href, state: 'queued',
          intent: 'billing', reason: 'intent:billing', redactions: [], attempts: 1, bytes: 0, createdMs: now - 1_000 + index,
          expiresMs: now + 72 * 3_600_000, nextMs: now + 3_500_000, pausedUntilMs: now + 3_500_000, id: null, error: { code: 'busy', status: 503 }, body: { text: 'old' },
        });
      }
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      /** @type {IDBDatabase} */ (database).close();
    }, INBOX);
    await load(page);
    await classifyAll(page, ['refund my bill', 'refund my other bill']);
    assert.deepEqual(await page.evaluate(() => window.clf.outbox?.counts()), { queued: 1_000, sent: 0, failed: 1 });
    const [kept, refused] = (await entries(page)).slice(-2);
    assert.deepEqual([kept.state, kept.text], ['queued', 'refund my bill']);
    assert.deepEqual([refused.state, refused.text, refused.error], ['failed', null, { code: 'queue_full', status: null }]);
    assert.deepEqual(await page.evaluate(() => window.events), [{ type: 'queued', key: kept.key }, { type: 'failed', key: refused.key }]);
    assert.deepEqual(posts, [], 'those that wait are waited for');
    // Trying again has nothing to send.
    await page.evaluate((key) => window.clf.outbox?.retry(key), refused.key);
    assert.equal((await entries(page)).at(-1)?.state, 'failed');
    await page.evaluate(() => window.clf.outbox?.clear());
    await classifyAll(page, ['refund my bill']);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
  });
});

test('texts for an address that is not used any more are erased in time', async () => {
  await web.withPage(
    async ({ page }) => {
      await load(page, { url: INBOX, maxAgeMs: 3_000 });
      await classifyAll(page, ['refund my bill']);
      assert.match(await stored(page), /refund my bill/);
      await page.evaluate(async () => {
        window.clf.dispose();
        const { Outbox } = await import('/pkg/index.js');
        Object.assign(window, { outbox: await Outbox.open({ url: '/elsewhere' }) });
      });
      await waitUntilErased(page, /refund/);
      const [left] = JSON.parse(await stored(page));
      assert.deepEqual([left.state, left.error.code, left.body], ['failed', 'expired', null]);
      await waitUntilErased(page, /expired/);
      assert.equal(await stored(page), '[]');
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('a browser that does not list its databases erases in time too, and none is made where there was none', async () => {
  await web.withPage(
    async ({ page }) => {
      const names = () => page.evaluate(async () => (await /** @type {any} */ (window).databases()).map((/** @type {{ name: string }} */ { name }) => name));
      await load(page, 'off');
      await page.waitForTimeout(500);
      assert.deepEqual(await names(), []);
      await page.evaluate(() => window.clf.dispose());
      await load(page, { url: INBOX, maxAgeMs: 8_000 });
      await classifyAll(page, ['refund my bill']);
      assert.match(await stored(page), /refund my bill/);
      // Nobody is there to erase it until the next one is loaded.
      await page.evaluate(() => window.clf.dispose());
      await load(page, 'off');
      assert.deepEqual(await names(), ['relayops-intent-outbox']);
      await waitUntilErased(page, /refund/);
    },
    async (context) => {
      await context.route(`**${INBOX}`, (route) => route.abort());
      // As Firefox before 126.
      await context.addInitScript(() => {
        const { databases } = IDBFactory.prototype;
        Object.assign(window, { databases: () => databases.call(indexedDB) });
        Reflect.deleteProperty(IDBFactory.prototype, 'databases');
      });
    },
  );
});

test('the outbox and sessions need nothing that came after Chrome 97', async () => {
  await web.withPage(
    async ({ page }) => {
      await load(page);
      const codes = await page.evaluate(async () => {
        const typing = window.clf.session();
        const [first, last] = [window.outcome(typing.update('refund')), window.outcome(typing.update('refund my bill'))];
        const codes = [(await first).code, (await last).code];
        await typing.submit();
        const closing = window.outcome(typing.update('and'));
        typing.close();
        return [...codes, (await closing).code];
      });
      assert.deepEqual(codes, ['superseded', 'fulfilled', 'disposed']);
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    },
    (context) =>
      context.addInitScript(() => {
        for (const name of ['timeout', 'any']) Reflect.deleteProperty(AbortSignal, name);
        Reflect.deleteProperty(AbortSignal.prototype, 'reason');
      }),
  );
});
