/** What becomes of messages that wait when escalation is turned off: nothing is sent by any page, and texts are erased in time. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INBOX, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
import { newTab, openOutbox, put, stored, waitUntilErased } from '../lib/outbox.js';
import { send, waitForInbox } from '../lib/page.js';
import { suite } from '../lib/suite.js';

const web = suite({ args: UNLIMITED });

test('what waited when it was turned off is sent by no tab, however it is asked', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = (await inbox(web.origin())).length;
    const other = await newTab(page);
    await context.route(`**${INBOX}`, (route) => route.abort());
    await Promise.all([load(page), load(other)]);
    await classifyAll(page, ['refund my bill', 'refund my other bill']);
    await waitForError(page, 'network');
    // The other tab waits for nobody: a third message is on its way from there.
    await context.unroute(`**${INBOX}`);
    await context.setOffline(true);
    await classifyAll(other, ['refund all my bills']);
    // Classifying waits for no disk: what is stored after the switch is that tab's own affair.
    await waitForCounts(other, { queued: 3, sent: 0, failed: 0 });
    await page.evaluate(() => window.clf.setEscalation('off'));
    const posts = postsOf(context);
    await context.setOffline(false);
    await other.evaluate(async () => {
      window.dispatchEvent(new Event('online'));
      await window.clf.outbox?.flush();
    });
    const late = await newTab(page);
    await load(late);
    await late.evaluate(() => window.clf.outbox?.flush());
    await page.waitForTimeout(2_500);
    assert.deepEqual(posts, []);
    const left = await entries(other);
    assert.deepEqual(left.map(({ state, error }) => [state, error?.code]), Array(3).fill(['failed', 'off']));
    assert.equal((await inbox(web.origin())).length, before);
    // What the other tab is told from now on is its own affair; what was taken back goes when a person says so.
    await classifyAll(other, ['refund it all']);
    await waitForCounts(other, { queued: 0, sent: 1, failed: 3 });
    await other.evaluate((key) => window.clf.outbox?.retry(key), left[0].key);
    await waitForCounts(other, { queued: 0, sent: 2, failed: 2 });
    assert.equal(posts.length, 2);
  });
});

test('trying again without a key leaves what was taken back, in every tab', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = (await inbox(web.origin())).length;
    const earlier = await newTab(page);
    await load(earlier);
    await load(page);
    await context.route(`**${INBOX}`, (route) => route.fulfill({ status: 413 }));
    await classifyAll(page, ['refund my bill']);
    await waitForCounts(page, { queued: 0, sent: 0, failed: 1 });
    await context.route(`**${INBOX}`, (route) => route.abort());
    await classifyAll(page, ['refund my other bill']);
    await waitForError(page, 'network');
    const refused = await page.evaluate(async () => {
      const { outbox } = window.clf;
      await window.clf.setEscalation('off');
      const [entry] = (await outbox?.list())?.filter(({ error }) => error?.code === 'off') ?? [];
      return [await window.outcome(Promise.resolve(outbox?.retry())), await window.outcome(Promise.resolve(outbox?.retry(entry?.key)))].map(({ code }) => code);
    });
    assert.deepEqual(refused, ['unavailable', 'unavailable']);
    await context.unroute(`**${INBOX}`);
    const posts = postsOf(context);
    const later = await newTab(page);
    await load(later);
    for (const tab of [earlier, later]) await tab.evaluate(() => window.clf.outbox?.retry());
    await waitForCounts(later, { queued: 0, sent: 1, failed: 1 });
    await later.waitForTimeout(1_000);
    assert.equal(posts.length, 1);
    const left = await entries(later);
    assert.deepEqual(left.map(({ text, error }) => [text, error?.code]), [[null, undefined], ['refund my other bill', 'off']]);
    assert.equal((await inbox(web.origin())).length, before + 1);
    await later.evaluate((key) => window.clf.outbox?.retry(key), left[1].key);
    await waitForCounts(later, { queued: 0, sent: 2, failed: 0 });
  });
});

test('what another tab has under way is ended', async () => {
  await web.withPage(async ({ page, context }) => {
    const other = await newTab(page);
    const asked = context.waitForEvent('request', (request) => request.method() === 'POST');
    await context.route(`**${INBOX}`, () => undefined);
    await load(other);
    await classifyAll(other, ['refund my bill']);
    const request = await asked;
    assert.equal(request.frame().page(), other);
    await load(page);
    const failed = context.waitForEvent('requestfailed', (failed) => failed === request);
    await page.evaluate(() => window.clf.setEscalation('off'));
    await failed;
    await context.unroute(`**${INBOX}`);
    await other.waitForTimeout(1_500);
    assert.deepEqual((await entries(other)).map(({ state, error }) => [state, error?.code]), [['failed', 'off']]);
  });
});

test('a message that is being redacted when it is turned off is not sent by another tab', async () => {
  await web.withPage(async ({ page, context }) => {
    const other = await newTab(page);
    await load(other);
    const posts = postsOf(context);
    await page.evaluate(async (url) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const state = /** @type {{ release?: () => void }} */ (/** @type {unknown} */ (window));
      const redact = async (/** @type {string} */ text) => {
        await new Promise((resolve) => (state.release = () => resolve(undefined)));
        return { text, redactions: [] };
      };
      window.clf = await IntentClassifier.load({ escalation: { url, redact } });
      await window.clf.classify('refund my bill');
      const off = window.clf.setEscalation('off');
      state.release?.();
      await off;
    }, INBOX);
    await other.evaluate(() => window.clf.outbox?.flush());
    await other.waitForTimeout(1_000);
    assert.deepEqual(posts, []);
    assert.deepEqual((await entries(other)).map(({ state, error }) => [state, error?.code]), [['failed', 'off']]);
  });
});

test('texts are erased in time while it is off, also those of an earlier visit', async () => {
  const hour = 60 * 60_000;
  await web.withPage(
    async ({ page }) => {
      await page.clock.install();
      await load(page, { url: INBOX, maxAgeMs: hour });
      await classifyAll(page, ['refund my bill']);
      await page.evaluate(() => window.clf.setEscalation('off'));
      await page.clock.fastForward(hour / 2);
      assert.match(await stored(page), /refund my bill/);
      await page.clock.fastForward(hour / 2);
      await waitUntilErased(page, /refund/);
      // A visit that ends without a goodbye, and one that never has it on.
      await page.evaluate(() => window.clf.dispose());
      await load(page, { url: INBOX, maxAgeMs: hour });
      await classifyAll(page, ['refund my bill']);
      // An attempt that is under way may be let through when the page goes.
      while (!/"attempts":[1-9]/.test(await stored(page))) await new Promise((resolve) => setTimeout(resolve, 20));
      await page.goto('about:blank');
      await page.goto(`${web.origin()}/inbox.html`);
      await load(page, 'off');
      assert.match(await stored(page), /refund my bill/);
      await page.clock.fastForward(hour);
      await waitUntilErased(page, /refund/);
      const [left] = JSON.parse(await stored(page));
      assert.deepEqual([left.state, left.error.code, left.body], ['failed', 'expired', null]);
      // And the rest of it after as long again.
      await waitUntilErased(page, /expired/, () => page.clock.fastForward(hour));
      assert.equal(await stored(page), '[]');
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('what waits for an address is taken back without an outbox for it, and not that of another', async () => {
  await web.withPage(async ({ page, context }) => {
    await context.route(`**${INBOX}`, (route) => route.abort());
    await openOutbox(page);
    await put(page, ['A', 'B']);
    await waitForError(page, 'network');
    await page.evaluate(() => window.outbox.close());
    await context.unroute(`**${INBOX}`);
    const posts = postsOf(context);
    const withdraw = (/** @type {string} */ url) => page.evaluate(async (url) => (await import('/pkg/index.js')).Outbox.withdraw(url), url);
    /** @returns {Promise<[string, string | undefined][]>} */
    const states = async () => JSON.parse(await stored(page)).map((/** @type {any} */ { state, error }) => [state, error?.code]);
    await withdraw('/elsewhere');
    assert.ok((await states()).every(([state]) => state === 'queued'));
    await withdraw(INBOX);
    assert.deepEqual(await states(), Array(2).fill(['failed', 'off']));
    await openOutbox(page);
    await page.evaluate(() => window.outbox.flush());
    await page.waitForTimeout(1_000);
    assert.deepEqual(posts, []);
    const { code } = await page.evaluate(async () => window.outcome((await import('/pkg/index.js')).Outbox.withdraw('ftp://a.example/')));
    assert.equal(code, 'invalid_argument');
  });
});

test('taking back ends what another tab has under way, and makes no database where there is none', async () => {
  await web.withPage(async ({ page, context }) => {
    const withdraw = () => page.evaluate(async (url) => (await import('/pkg/index.js')).Outbox.withdraw(url), INBOX);
    await withdraw();
    assert.deepEqual(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name)), []);
    const other = await newTab(page);
    await context.route(`**${INBOX}`, () => undefined);
    const asked = context.waitForEvent('request', (request) => request.method() === 'POST');
    await openOutbox(other);
    await put(other, ['A']);
    const request = await asked;
    const failed = context.waitForEvent('requestfailed', (failed) => failed === request);
    await withdraw();
    await failed;
    assert.deepEqual((await entries(other)).map(({ state, error }) => [state, error?.code]), [['failed', 'off']]);
  });
});

test('off takes back what waits for every address that the classifier sent to', async () => {
  await web.withPage(async ({ page, context }) => {
    await context.route(/\/api\/escalations|\/elsewhere/, (route) => route.abort());
    await load(page);
    await classifyAll(page, ['refund my bill']);
    await waitForError(page, 'network');
    await page.evaluate(async () => {
      await window.clf.setEscalation({ url: '/elsewhere' });
      await window.clf.classify('refund my other bill');
      await window.clf.outbox?.stored();
      await window.clf.setEscalation('off');
    });
    const states = JSON.parse(await stored(page)).map((/** @type {any} */ { state, error }) => [state, error?.code]);
    assert.deepEqual(states, Array(2).fill(['failed', 'off']));
  });
});

test('the page’s switch takes back what a model that is gone left behind', async () => {
  await web.withPage(
    async ({ page, context }) => {
      await waitForInbox(page);
      await context.route(`**${INBOX}`, (route) => (route.request().method() === 'POST' ? route.abort() : route.continue()));
      const posts = postsOf(context);
      await send(page, 'why was I charged twice?');
      while (!/"attempts":[1-9]/.test(await stored(page))) await page.waitForTimeout(20);
      await page.click('#unload');
      await page.check('#private');
      await waitUntilErased(page, /"state":"queued"/);
      await context.unroute(`**${INBOX}`);
      const made = posts.length;
      await page.click('#compact');
      await page.waitForSelector('#model-loaded:not([hidden])');
      await page.uncheck('#private');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent === '0 queued, 0 sent, 1 failed');
      await page.waitForTimeout(1_500);
      assert.equal(posts.length, made);
    },
    undefined,
    { keepModel: true, isPrivate: false },
  );
});

test('the switch of one tab is the switch of all', async () => {
  await web.withPage(
    async ({ page, context }) => {
      await waitForInbox(page);
      const other = await context.newPage();
      await other.goto(`${web.origin()}/`);
      await other.waitForSelector('#model-loaded:not([hidden])');
      await waitForInbox(other);
      await send(page, 'cancel my plan');
      await other.locator('#inbox blockquote', { hasText: 'cancel my plan' }).waitFor();
      await page.check('#private');
      await other.waitForSelector('#privacy-box.is-on');
      assert.ok(await other.isChecked('#private'));
      const posts = postsOf(context);
      await send(other, 'why was I charged twice?');
      await other.waitForTimeout(500);
      assert.deepEqual(posts, []);
      assert.match((await other.locator('#thread .from-agent').last().textContent()) ?? '', /nothing is sent/);
      assert.ok((await other.locator('#inbox li').count()) > 0, 'what was there before is still shown');
      assert.equal(await other.locator('#inbox li :is(button, select):visible').count(), 0, 'and nothing can be said of it');
      assert.equal(await other.evaluate(() => document.querySelector('#inbox')?.closest('[inert], [aria-hidden]')), null, 'by whatever it is read');
      await page.uncheck('#private');
      await waitForInbox(other);
      await send(other, 'refund my bill');
      await other.waitForFunction(() => document.querySelector('#outbox')?.textContent?.startsWith('0 queued, 2 sent'));
      assert.equal(posts.length, 1);
    },
    undefined,
    { keepModel: true, isPrivate: false },
  );
});
