/** What leaves the device, and what does not. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, entries, inbox, load, messages, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
import { stored } from '../lib/outbox.js';
import { suite } from '../lib/suite.js';

const web = suite({ args: UNLIMITED });

/** Inbox items whose ids come after `id`. @param {number} id */
const since = async (id) => (await inbox(web.origin())).filter((item) => item.id > id);
const lastId = async () => (await inbox(web.origin()))[0]?.id ?? 0;

test('off: 500 messages, and not one request', async () => {
  const texts = [...messages(498), SECRET, 'x'.repeat(2_001)];
  await web.withPage(async ({ page, context, requests, complaints }) => {
    // There is something to send, if anything sent.
    await context.route(`**${INBOX}`, (route) => route.abort());
    await load(page);
    await classifyAll(page, [SECRET]);
    await waitForCounts(page, { queued: 1, sent: 0, failed: 0 });
    await page.evaluate(() => window.clf.setEscalation('off'));
    await context.unroute(`**${INBOX}`);
    await page.evaluate(() => window.clf.dispose());
    const before = await lastId();
    await load(page, 'off');
    await page.waitForLoadState('networkidle');
    const loaded = requests.length;
    const results = await classifyAll(page, texts);
    const escalated = results.filter((result) => result.decision.route === 'escalate');
    assert.ok(escalated.length > 100, `${escalated.length} of 500 would have escalated`);
    assert.ok(results.every((result) => !('escalation' in result)));
    await page.evaluate(() => window.dispatchEvent(new Event('online')));
    await page.waitForTimeout(1_500);
    assert.deepEqual(requests.slice(loaded), []);
    assert.equal(await lastId(), before);
    assert.deepEqual(complaints.filter((text) => !text.includes('ERR_FAILED')), []);
    console.log(`MEASURED escalation off: 500 messages, ${escalated.length} would have escalated, ${requests.length - loaded} requests`);
  });
});

test('on: exactly one POST for each message that escalates, to the configured address only, redacted', async () => {
  const texts = [...messages(200), SECRET, 'ssn 078-05-1120', 'x'.repeat(2_001), 'hello there'];
  await web.withPage(async ({ page, context, requests, complaints }) => {
    const before = await lastId();
    await load(page);
    await page.waitForLoadState('networkidle');
    const loaded = requests.length;
    const posts = postsOf(context);
    const results = await classifyAll(page, texts);
    const escalated = results.flatMap((result, index) => (result.decision.route === 'escalate' ? [{ ...result, text: texts[index] }] : []));
    await waitForCounts(page, { queued: 0, sent: escalated.length, failed: 0 });
    assert.ok(escalated.length > 20 && escalated.length < texts.length);
    assert.equal(posts.length, escalated.length, 'one for each');
    assert.deepEqual(requests.slice(loaded), posts.map(({ url }) => url), 'and nothing else');
    assert.deepEqual([...new Set(posts.map(({ url }) => url))], [web.origin() + INBOX]);
    assert.deepEqual(posts.map(({ key }) => key).toSorted(), escalated.map(({ escalation }) => escalation).toSorted());
    const sent = posts.map(({ body }) => body).join('\n');
    for (const secret of ['4111 1111', 'ann@example.com', '078-05-1120']) assert.ok(!sent.includes(secret), secret);
    const items = (await since(before)).toReversed();
    assert.deepEqual(items.map(({ intent, reason }) => ({ intent, reason })), escalated.map(({ intent, decision: { reason } }) => ({ intent, reason })));
    const card = items.find(({ text }) => text === REDACTED);
    assert.deepEqual(card?.redactions.toSorted(), ['email', 'payment_card']);
    assert.deepEqual(complaints, []);
    console.log(`MEASURED escalation on: ${texts.length} messages, ${escalated.length} escalated, ${posts.length} POSTs, ${items.length} in the inbox`);
  });
});

test('from typing to the inbox, live, and markup is shown as text everywhere', async () => {
  const markup = `<img src=x onerror="document.title='harmed'"><script>document.title='harmed'</script> refund my bill`;
  await web.withPage(
    async ({ page, context, complaints }) => {
      const before = await lastId();
      const console = await context.newPage();
      await console.goto(`${web.origin()}/inbox.html`);
      await console.waitForFunction(() => document.querySelector('#inbox-status')?.textContent === 'Live');
      await page.waitForFunction(() => document.querySelector('#inbox-status')?.textContent === 'Live');
      await page.locator('#text').pressSequentially(markup);
      assert.equal((await since(before)).length, 0, 'typing sends nothing');
      await page.press('#text', 'Enter');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent === '0 queued, 1 sent, 0 failed');
      const items = await since(before);
      assert.deepEqual(items.map(({ text }) => text), [markup]);
      const row = console.locator('#inbox li', { hasText: 'refund my bill' });
      await row.waitFor();
      assert.equal(await row.locator('blockquote').textContent(), markup);
      const beside = page.locator('#inbox li', { hasText: 'refund my bill' });
      assert.equal(await beside.locator('blockquote').textContent(), markup);
      for (const tab of [page, console]) assert.equal(await tab.locator('#inbox blockquote *, #thread .bubble *, #result-text *').count(), 0);
      await row.locator('button').click();
      await row.getByRole('button', { name: 'Open again' }).waitFor();
      assert.ok((await since(before))[0].handled_ms);
      await page.check('#private');
      await page.fill('#text', 'why was I charged twice?');
      await page.press('#text', 'Enter');
      await page.waitForFunction(() => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent?.startsWith('why was'));
      await page.waitForTimeout(500);
      assert.equal((await since(before)).length, 1, 'off again');
      assert.deepEqual([await page.title(), await console.title()], ['RelayOps Intent', 'RelayOps Inbox']);
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true, isPrivate: false },
  );
});

test('offline, messages wait, and are delivered once when the network is back', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = await lastId();
    await load(page);
    await context.setOffline(true);
    await classifyAll(page, [SECRET, 'why was I charged twice?']);
    await waitForError(page, 'network');
    assert.deepEqual((await entries(page)).map(({ state }) => state), ['queued', 'queued']);
    assert.equal((await since(before)).length, 0);
    await context.setOffline(false);
    await waitForCounts(page, { queued: 0, sent: 2, failed: 0 });
    // What was tried in vain comes after what was not tried yet.
    assert.deepEqual((await since(before)).map(({ text }) => text), [REDACTED, 'why was I charged twice?']);
    const events = await page.evaluate(() => window.events.map(({ type }) => type).toSorted());
    assert.deepEqual(events, ['queued', 'queued', 'sent', 'sent']);
  });
});

test('a reload with queued messages delivers them, and what is stored never was the message itself', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = await lastId();
    await context.route(`**${INBOX}`, (route) => route.abort());
    await load(page);
    await classifyAll(page, [SECRET]);
    await waitForError(page, 'network');
    const [waiting] = await entries(page);
    assert.equal(waiting.text, REDACTED);
    assert.ok(await page.evaluate(() => window.clf.outbox?.durable));
    // The page goes without a goodbye.
    await page.goto('about:blank');
    await context.unroute(`**${INBOX}`);
    await page.goto(`${web.origin()}/inbox.html`);
    await load(page);
    await page.evaluate(() => window.clf.outbox?.flush());
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    const items = await since(before);
    assert.deepEqual(items.map(({ text }) => text), [REDACTED]);
    const [sent] = await entries(page);
    assert.deepEqual([sent.key, sent.text, sent.id, sent.attempts], [waiting.key, null, items[0].id, 2]);
    assert.doesNotMatch(await stored(page), /charge|card]|4111|example/, 'erased once acknowledged');
  });
});

test('a message whose acknowledgement was lost is stored once', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = await lastId();
    let lost = 0;
    await context.route(`**${INBOX}`, async (route) => {
      if (lost === 2) return route.continue();
      lost += 1;
      const response = await route.fetch();
      assert.equal(response.status(), lost === 1 ? 201 : 200);
      return route.abort();
    });
    await load(page);
    await classifyAll(page, [SECRET]);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    const [entry] = await entries(page);
    assert.equal(entry.attempts, 3);
    assert.deepEqual((await since(before)).map(({ id }) => id), [entry.id]);
  });
});

test('two tabs do not send the same message, and both hear of it', async () => {
  await web.withPage(async ({ page, context }) => {
    const before = await lastId();
    const posts = postsOf(context);
    await context.route(`**${INBOX}`, async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      await route.continue();
    });
    const other = await context.newPage();
    await other.goto(`${web.origin()}/inbox.html`);
    await Promise.all([load(page), load(other)]);
    const texts = Array.from({ length: 15 }, (_, index) => `refund bill line ${index}`);
    await Promise.all([classifyAll(page, texts), classifyAll(other, texts)]);
    await waitForCounts(page, { queued: 0, sent: 30, failed: 0 });
    await waitForCounts(other, { queued: 0, sent: 30, failed: 0 });
    assert.equal(posts.length, 30);
    assert.equal(new Set(posts.map(({ key }) => key)).size, 30);
    assert.equal((await since(before)).length, 30);
    for (const tab of [page, other]) {
      await tab.waitForFunction(() => window.events.filter(({ type }) => type === 'sent').length >= 30);
    }
  });
});

test('classifying waits for neither the disk nor the network', async () => {
  await web.withPage(
    async ({ page }) => {
      await load(page);
      const results = await classifyAll(page, [SECRET, 'refund my bill', 'hello']);
      assert.deepEqual(results.map(({ decision }) => decision.route), ['escalate', 'escalate', 'local']);
      await page.evaluate(() => window.clf.dispose());
    },
    // Never answered.
    (context) => context.route(`**${INBOX}`, () => undefined),
  );
});

test('turning it off ends what is under way', async () => {
  await web.withPage(async ({ page, context }) => {
    const posts = postsOf(context);
    await context.route(`**${INBOX}`, () => undefined);
    await load(page);
    await classifyAll(page, [SECRET]);
    await page.waitForFunction(() => window.events.length === 1);
    const failed = context.waitForEvent('requestfailed', (request) => request.url().endsWith(INBOX));
    if (posts.length === 0) await context.waitForEvent('request', (request) => request.method() === 'POST');
    // On and off at once: the last word holds.
    await page.evaluate(async () => {
      const on = window.clf.setEscalation({ url: '/api/escalations' });
      await window.clf.setEscalation('off');
      await on;
    });
    await failed;
    await context.unroute(`**${INBOX}`);
    const sent = posts.length;
    await classifyAll(page, [SECRET]);
    await page.waitForTimeout(3_000);
    assert.equal(posts.length, sent);
    assert.equal(await page.evaluate(() => window.clf.outbox), null);
  });
});

test('answers of others are no acknowledgement, redirects are not followed, and what is refused for good says so', async () => {
  const json = { 'content-type': 'application/json' };
  await web.withPage(async ({ page, context }) => {
    /** @type {Parameters<import('playwright-core').Route['fulfill']>[0]} */
    let answer;
    await context.route(`**${INBOX}`, (route) => route.fulfill(answer));
    for (const [given, code, state] of /** @type {const} */ ([
      [{ status: 200, body: '<title>Hotel</title>', headers: { 'content-type': 'text/html' } }, 'not_acknowledged', 'queued'],
      [{ status: 200, body: '{"id": 1, "key": "another"}', headers: json }, 'not_acknowledged', 'queued'],
      [{ status: 302, headers: { location: '/elsewhere' } }, 'network', 'queued'],
      [{ status: 401, body: '{"error": {"code": "unauthorized"}}', headers: json }, 'unauthorized', 'queued'],
      [{ status: 404, body: 'no such page' }, 'http_404', 'queued'],
      [{ status: 500 }, 'http_500', 'queued'],
      [{ status: 400, body: '{"error": {"code": "invalid_body"}}', headers: json }, 'invalid_body', 'failed'],
      [{ status: 413 }, 'http_413', 'failed'],
    ])) {
      answer = given;
      await load(page);
      await classifyAll(page, ['refund my bill']);
      await waitForError(page);
      const [entry] = await entries(page);
      assert.deepEqual([entry.state, entry.error?.code, entry.text], [state, code, 'refund my bill'], JSON.stringify(given));
      await page.evaluate(async () => {
        await window.clf.outbox?.clear();
        window.clf.dispose();
      });
    }
    // Failed for good, and tried again by hand.
    await load(page);
    await classifyAll(page, ['refund my bill']);
    await waitForCounts(page, { queued: 0, sent: 0, failed: 1 });
    await context.unroute(`**${INBOX}`);
    await page.evaluate(() => window.clf.outbox?.retry());
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
  });
});

test('a text is erased when its time is over, sent or not', async () => {
  await web.withPage(
    async ({ page }) => {
      await load(page, { url: INBOX, maxAgeMs: 1_500 });
      await classifyAll(page, ['refund my bill']);
      await waitForCounts(page, { queued: 0, sent: 0, failed: 1 });
      const [entry] = await entries(page);
      assert.deepEqual([entry.text, entry.error?.code], [null, 'expired']);
      // And the rest of it after as long again.
      await waitForCounts(page, { queued: 0, sent: 0, failed: 0 });
    },
    (context) => context.route(`**${INBOX}`, (route) => route.abort()),
  );
});

test('without IndexedDB messages are sent all the same', async () => {
  await web.withPage(
    async ({ page }) => {
      const before = await lastId();
      await load(page);
      assert.equal(await page.evaluate(() => window.clf.outbox?.durable), false);
      await classifyAll(page, [SECRET]);
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      assert.deepEqual((await since(before)).map(({ text }) => text), [REDACTED]);
    },
    (context) => context.addInitScript(() => {
      IDBFactory.prototype.open = () => {
        throw new DOMException('denied', 'SecurityError');
      };
    }),
  );
});

test('options that cannot be used are refused by name', async () => {
  await web.withPage(async ({ page, requests }) => {
    const outcomes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const given = [
        'on', null, 7, {}, { url: 7 }, { url: 'ftp://a.example/' }, { url: 'http://name:word@a.example/' }, { url: '/a', token: 7 },
        { url: '/a', token: 'two words' }, { url: '/a', redact: 'no' }, { url: '/a', maxAgeMs: 0 }, { url: '/a', maxAgeMs: 28 * 86_400_000 + 1 },
        { url: '/a', surplus: 1 },
      ];
      const outcomes = [];
      for (const escalation of given) {
        outcomes.push(await window.outcome(IntentClassifier.load({ escalation: /** @type {any} */ (escalation) })));
      }
      return outcomes.map(({ code, message }) => ({ code, name: message.split(':')[0] }));
    });
    assert.deepEqual(outcomes.map(({ code }) => code), Array(13).fill('invalid_argument'));
    assert.deepEqual(
      outcomes.map(({ name }) => name),
      [...Array(3).fill('escalation'), ...Array(4).fill('escalation.url'), ...Array(2).fill('escalation.token'), 'escalation.redact', ...Array(2).fill('escalation.maxAgeMs'), 'escalation.surplus'],
    );
    assert.ok(!requests.some((url) => url.includes('worker.js') && url.includes('?')), 'nothing was started');
  });
});
