/** The live tab: what appears while typing, what arrives at the server, and what the privacy switch keeps. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { INBOX, REDACTED, SECRET, UNLIMITED, inbox, postsOf } from '../lib/escalation.js';
import { visit } from '../lib/browser.js';
import { MARKUP, send, tally, waitForInbox } from '../lib/page.js';
import { startServer } from '../lib/server.js';
import { suite } from '../lib/suite.js';

const web = suite({ args: UNLIMITED });

/** A page as it opens for somebody who comes for the first time. */
const FIRST = { keepModel: true, isPrivate: false };
const lastId = async () => (await inbox(web.origin()))[0]?.id ?? 0;

test('intent, probabilities and route appear while the customer types, and nothing is sent until the message is', async () => {
  await web.withPage(
    async ({ page, context, complaints }) => {
      const posts = postsOf(context);
      await waitForInbox(page);
      await page.locator('#text').pressSequentially('why was I charged');
      await page.waitForFunction(() => document.querySelector('#result[data-phase="typing"] #result-text')?.textContent === 'why was I charged');
      assert.equal(await page.textContent('#intent'), 'Billing');
      assert.equal(await page.textContent('#route'), 'Escalate to a person');
      assert.equal(await page.textContent('#result-phase'), 'While typing');
      assert.equal(await page.locator('#bars tr').count(), 6);
      assert.deepEqual(await tally(page), { messages: '0', local: '0', escalated: '0', bytes: '0 bytes' });
      assert.equal(posts.length, 0);
      await page.press('#text', 'Enter');
      await page.waitForSelector('#result[data-phase="sent"]');
      await page.waitForFunction(() => document.querySelector('#thread .meta')?.textContent?.includes('inbox'));
      assert.equal(posts.length, 1);
      assert.deepEqual(complaints, []);
    },
    undefined,
    FIRST,
  );
});

test('only escalations arrive, redacted, beside the conversation; the counter has their number and their bytes', async () => {
  await web.withPage(
    async ({ page, context, complaints }) => {
      const [before, posts] = [await lastId(), postsOf(context)];
      await waitForInbox(page);
      for (const text of ['hello there', 'my internet is down', SECRET, 'why was I charged twice?']) await send(page, text);
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent === '0 queued, 2 sent, 0 failed');
      const items = (await inbox(web.origin())).filter(({ id }) => id > before);
      assert.deepEqual(items.map(({ text }) => text), ['why was I charged twice?', REDACTED]);
      const shown = page.locator('#inbox li blockquote');
      await page.waitForFunction(() => document.querySelectorAll('#inbox li').length >= 2);
      assert.deepEqual((await shown.allTextContents()).slice(0, 2), ['why was I charged twice?', REDACTED], 'the newest first');
      assert.match((await page.locator('#inbox li').nth(1).textContent()) ?? '', /Taken out: e-mail address, payment card/);
      const bytes = posts.reduce((sum, { body }) => sum + Buffer.byteLength(body), 0);
      const { messages, local, escalated, bytes: sent } = await tally(page);
      assert.deepEqual([messages, local, escalated], ['4', '2', '2']);
      assert.equal(sent, bytes < 1000 ? `${bytes} bytes` : `${(bytes / 1000).toFixed(1)} kB`);
      assert.deepEqual(complaints, []);
    },
    undefined,
    FIRST,
  );
});

test('sample conversations: a mixed billing request and an injection attempt go to a person', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      await waitForInbox(page);
      for (const [index, title] of ['Mixed request with billing', 'Injection attempt'].entries()) {
        await page.locator('#samples .sample', { hasText: title }).click();
        await page.waitForFunction((count) => document.querySelectorAll('#thread .from-customer').length === count, index + 1);
        await page.waitForFunction((count) => document.querySelectorAll('#thread .meta.escalate').length === count, index + 1);
      }
      assert.deepEqual(complaints, []);
    },
    undefined,
    { ...FIRST, context: { reducedMotion: 'reduce' } },
  );
});

test('a sample that is being typed ends when the customer writes', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.locator('#samples .sample', { hasText: 'Internet is down' }).click();
      await page.waitForFunction(() => /** @type {HTMLTextAreaElement} */ (document.querySelector('#text')).value !== '');
      assert.ok(await page.isVisible('#samples .stop'));
      await send(page, 'something else');
      assert.ok(await page.isHidden('#samples .stop'));
      await page.waitForTimeout(1_500);
      const texts = await page.locator('#thread .from-customer .bubble').allTextContents();
      assert.equal(texts.at(-1), 'something else');
      assert.equal(await page.inputValue('#text'), '');
    },
    undefined,
    { keepModel: true },
  );
});

test('messages sent in quick succession are all answered, in order', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      const texts = ['hello there', 'my internet is down', 'is my modem online?', 'thanks, bye'];
      await page.evaluate((texts) => {
        const [text, form] = [document.querySelector('textarea'), document.querySelector('form')];
        for (const one of texts) {
          /** @type {HTMLTextAreaElement} */ (text).value = one;
          text?.dispatchEvent(new Event('input', { bubbles: true }));
          form?.requestSubmit();
        }
        /** @type {HTMLTextAreaElement} */ (text).value = 'and one more that is only ty';
        text?.dispatchEvent(new Event('input', { bubbles: true }));
      }, texts);
      await page.waitForFunction(() => document.querySelectorAll('#thread .from-customer').length === 4);
      assert.deepEqual(await page.locator('#thread .from-customer .bubble').allTextContents(), texts);
      await page.waitForFunction(() => document.querySelector('#result[data-phase="typing"] #result-text')?.textContent === 'and one more that is only ty');
      assert.equal((await tally(page)).messages, '4');
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true },
  );
});

test('the privacy switch: no request at all, counted on the page and outside, and remembered', async () => {
  await web.withPage(
    async ({ page, requests, complaints }) => {
      const before = await lastId();
      await waitForInbox(page);
      await page.waitForLoadState('load');
      await page.check('#private');
      await waitForInbox(page, 'Not connected');
      const started = requests.length;
      for (const text of [SECRET, 'why was I charged twice?', 'hello there']) await send(page, text);
      for (const tab of ['batch', 'evaluation', 'live']) await page.click(`#tab-${tab}`);
      // Anything sent late would be sent by now.
      await page.waitForTimeout(2_500);
      assert.deepEqual(requests.slice(started), []);
      assert.equal(await page.textContent('#request-count'), '0');
      assert.ok(await page.isVisible('#privacy-count'));
      assert.deepEqual(await tally(page), { messages: '3', local: '1', escalated: '2', bytes: '0 bytes' });
      assert.match((await page.locator('#thread .meta').first().textContent()) ?? '', /not sent/);
      assert.equal(await lastId(), before);
      // The count is no ornament: a request is seen, and named.
      await page.evaluate(() => fetch('/icon.svg?counted'));
      await page.waitForFunction(() => document.querySelector('#request-count')?.textContent === '1');
      assert.match((await page.textContent('#request-paths')) ?? '', /icon\.svg/);
      assert.match((await page.textContent('#request-words')) ?? '', /^request of this page since the switch was turned on\.$/);
      const loaded = requests.length;
      await page.reload();
      await page.waitForSelector('#model-loaded:not([hidden])');
      assert.ok(await page.isChecked('#private'));
      // What the page itself consists of has been asked for by now, also what came late: none of it is in the count.
      assert.ok(requests.slice(loaded).some((url) => url.endsWith('/models/index.json')));
      await page.waitForLoadState('networkidle');
      await send(page, 'why was I charged twice?');
      assert.equal(await page.textContent('#request-count'), '0');
      assert.equal(await page.textContent('#request-words'), 'requests of this page since the model was ready.');
      await page.uncheck('#private');
      await waitForInbox(page);
      await send(page, 'refund my bill');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent === '0 queued, 1 sent, 0 failed');
      assert.deepEqual((await inbox(web.origin())).filter(({ id }) => id > before).map(({ text }) => text), ['refund my bill']);
      assert.deepEqual(complaints, []);
    },
    undefined,
    FIRST,
  );
});

test('an agent marks a message handled and corrects its intent, beside the conversation', async () => {
  await web.withPage(
    async ({ page }) => {
      await waitForInbox(page);
      await send(page, 'refund the bill of the test of corrections');
      const row = page.locator('#inbox li', { hasText: 'test of corrections' });
      await row.getByRole('button', { name: 'Mark handled' }).click();
      await row.getByRole('button', { name: 'Open again' }).waitFor();
      await row.getByRole('combobox').focus();
      const saved = page.waitForResponse((response) => response.request().method() === 'PATCH');
      await row.getByRole('combobox').selectOption('greeting');
      assert.equal((await saved).status(), 200);
      await page.waitForFunction(() => document.activeElement?.localName === 'select', null, { timeout: 5_000 });
      const exported = await (await fetch(`${web.origin()}${INBOX}/export`)).text();
      const corrected = exported.trim().split('\n').map((line) => JSON.parse(line));
      assert.ok(corrected.some(({ text, intent }) => text.includes('test of corrections') && intent === 'greeting'));
    },
    undefined,
    FIRST,
  );
});

test('older messages come by a click, and what arrives meanwhile stays on top', async () => {
  const server = await startServer({ args: UNLIMITED });
  const opened = await visit(web.browser(), server.origin, undefined, FIRST);
  try {
    const { page } = opened;
    await waitForInbox(page);
    await page.check('#private');
    const post = (/** @type {number} */ index) =>
      fetch(server.origin + INBOX, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID() },
        body: JSON.stringify({ text: `message ${index}`, intent: 'billing', reason: 'intent:billing', created_ms: 1 }),
      });
    for (let index = 1; index <= 60; index += 1) assert.equal((await post(index)).status, 201);
    await page.uncheck('#private');
    await page.waitForFunction(() => document.querySelectorAll('#inbox li').length === 50);
    await post(61);
    await page.waitForFunction(() => document.querySelectorAll('#inbox li').length === 51);
    await page.click('#inbox-older');
    await page.waitForFunction(() => document.querySelectorAll('#inbox li').length === 61);
    const texts = await page.locator('#inbox blockquote').allTextContents();
    assert.deepEqual(texts, Array.from({ length: 61 }, (_, index) => `message ${61 - index}`));
    assert.ok(await page.isHidden('#inbox-older'));
  } finally {
    await opened.context.close();
    await server.stop();
  }
});

test('a server with a token is asked with it, by the inbox and by what is sent', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-token-'));
  const token = 'agent-token-0123456789';
  writeFileSync(join(folder, 'token'), `${token}\n`);
  const server = await startServer({ args: [...UNLIMITED, '--token-file', join(folder, 'token')] });
  const opened = await visit(web.browser(), server.origin, undefined, FIRST);
  try {
    const { page } = opened;
    await waitForInbox(page, 'Needs a token');
    await page.fill('#token', token);
    await page.press('#token', 'Enter');
    await waitForInbox(page);
    await send(page, 'refund my bill');
    await page.locator('#inbox blockquote', { hasText: 'refund my bill' }).waitFor();
    assert.ok(await page.isHidden('#inbox-token'));
  } finally {
    await opened.context.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('what a server refused for want of the token is sent once there is one, however long it was to wait', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-token-'));
  const token = 'agent-token-0123456789';
  writeFileSync(join(folder, 'token'), `${token}\n`);
  const server = await startServer({ args: [...UNLIMITED, '--token-file', join(folder, 'token')] });
  const opened = await visit(web.browser(), server.origin, undefined, FIRST);
  try {
    const { page } = opened;
    await waitForInbox(page, 'Needs a token');
    // Far longer than this test waits.
    const refusal = { status: 401, headers: { 'retry-after': '1200' }, json: { error: { code: 'unauthorized', message: 'a token is needed' } } };
    await page.route(`**${INBOX}`, (route) => (route.request().method() === 'POST' ? route.fulfill(refusal) : route.fallback()));
    const refused = page.waitForResponse((response) => response.request().method() === 'POST');
    await send(page, 'refund my bill');
    assert.equal((await refused).status(), 401);
    await page.unroute(`**${INBOX}`);
    await page.fill('#token', token);
    await page.press('#token', 'Enter');
    await page.locator('#inbox blockquote', { hasText: 'refund my bill' }).waitFor();
    await page.waitForFunction(() => document.querySelector('#outbox')?.textContent === '0 queued, 1 sent, 0 failed');
  } finally {
    await opened.context.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a stray answer in place of the inbox’s takes nothing back that waits', async () => {
  await web.withPage(
    async ({ page }) => {
      await waitForInbox(page);
      let strays = 1;
      let isGone = true;
      await page.route('**/api/**', (route) => {
        if (isGone) return route.abort();
        if (route.request().method() !== 'GET' || strays === 0) return route.continue();
        strays -= 1;
        return route.fulfill({ contentType: 'text/html', body: '<title>Back soon</title>' });
      });
      // Ends the stream.
      await page.evaluate(() => dispatchEvent(new Event('offline')));
      await waitForInbox(page, 'Connecting');
      await send(page, 'a refund that must not be lost');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent?.startsWith('1 queued'));
      const stray = page.waitForResponse((response) => response.headers()['content-type'] === 'text/html');
      isGone = false;
      await stray;
      await waitForInbox(page);
      await page.locator('#inbox blockquote', { hasText: 'must not be lost' }).waitFor();
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent?.endsWith('0 queued, 1 sent, 0 failed'));
      assert.match((await page.locator('#thread .meta').last().textContent()) ?? '', /in the server’s inbox/);
      assert.doesNotMatch((await page.textContent('#privacy-note')) ?? '', /no inbox/);
    },
    undefined,
    FIRST,
  );
});

test('a database that is gone leaves no count, and no error that nobody catches', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      await waitForInbox(page);
      await send(page, 'cancel my plan');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent?.includes('1 sent'));
      await page.evaluate(() => {
        for (const { prototype } of [IDBObjectStore, IDBIndex]) {
          prototype.getAll = prototype.count = () => {
            throw new DOMException('the database is closing', 'InvalidStateError');
          };
        }
      });
      await page.check('#private');
      await page.uncheck('#private');
      await waitForInbox(page);
      await page.waitForTimeout(500);
      assert.equal(await page.textContent('#outbox'), '');
      assert.deepEqual(complaints, []);
    },
    undefined,
    FIRST,
  );
});

test('the inbox connects again by itself after its server was away', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-away-'));
  const file = join(folder, 'inbox.sqlite3');
  let server = await startServer({ args: UNLIMITED, inbox: file });
  const { origin } = server;
  const opened = await visit(web.browser(), origin, undefined, FIRST);
  try {
    const { page } = opened;
    await waitForInbox(page);
    await server.stop('SIGKILL');
    await waitForInbox(page, 'Connecting');
    await send(page, 'refund my bill');
    server = await startServer({ args: UNLIMITED, inbox: file, port: Number(new URL(origin).port) });
    await waitForInbox(page);
    await page.locator('#inbox blockquote', { hasText: 'refund my bill' }).waitFor();
    assert.equal(await page.locator('#inbox li').count(), 1);
  } finally {
    await opened.context.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a network that goes is noticed, although the stream does not end', async () => {
  await web.withPage(
    async ({ page, context }) => {
      await waitForInbox(page);
      await context.setOffline(true);
      await waitForInbox(page, 'Connecting');
      await send(page, 'why was I charged twice?');
      await page.waitForFunction(() => document.querySelector('#outbox')?.textContent?.startsWith('1 queued'));
      await context.setOffline(false);
      await waitForInbox(page);
      await page.locator('#inbox blockquote', { hasText: 'why was I charged twice?' }).first().waitFor();
    },
    undefined,
    FIRST,
  );
});

test('on a host without an inbox nothing is sent, and the page says so', async () => {
  await web.withPage(
    async ({ page, context }) => {
      const posts = postsOf(context);
      await waitForInbox(page, 'No inbox here');
      await send(page, 'refund my bill');
      assert.match((await page.textContent('#privacy-note')) ?? '', /no inbox, so nothing is sent/);
      assert.match((await page.locator('#thread .meta').textContent()) ?? '', /not sent/);
      await page.waitForTimeout(1_000);
      assert.equal(posts.length, 0);
    },
    // As a host of files answers that has a page for every address.
    (context) => context.route('**/api/**', (route) => route.fulfill({ status: 200, contentType: 'text/html', body: '<title>Not found</title>', headers: { 'cross-origin-resource-policy': 'same-origin' } })),
    FIRST,
  );
});

test('markup is text in the conversation, the console, the inbox and the batch table', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      await waitForInbox(page);
      await send(page, MARKUP);
      await page.locator('#inbox blockquote', { hasText: 'refund' }).first().waitFor();
      await page.click('#tab-batch');
      const buffer = Buffer.from(`text,"<b>note</b>"\n"${MARKUP.replaceAll('"', '""')}",x\n`);
      await page.setInputFiles('#batch-file', { name: '<i>rows</i>.csv', mimeType: 'text/csv', buffer });
      await page.waitForSelector('#batch-setup:not([hidden])');
      await page.click('#batch-run');
      await page.waitForSelector('#batch-results:not([hidden])');
      assert.equal(await page.locator('#batch-rows .message').textContent(), MARKUP);
      const inside = '.bubble, #result-text, #inbox blockquote, #batch-rows .message, #batch-name, #batch-preview li, #batch-column option';
      for (const shown of await page.locator(inside).all()) assert.equal(await shown.locator('*').count(), 0);
      assert.equal(await page.locator('main img, main b, main script, main i').count(), 0);
      assert.equal(await page.title(), 'RelayOps Intent');
      assert.deepEqual(complaints, []);
    },
    undefined,
    FIRST,
  );
});
