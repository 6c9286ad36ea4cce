/** The outbox and servers that go away, limit, or ask for a token. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts } from '../lib/escalation.js';
import { launch, visit } from '../lib/browser.js';
import { startServer } from '../lib/server.js';

/** @type {import('../lib/browser.js').Browser} */
let browser;
const folder = mkdtempSync(join(tmpdir(), 'relayops-escalation-'));

before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('the server is killed and comes back in between: everything arrives once', async () => {
  const file = join(folder, 'restart.sqlite3');
  let server = await startServer({ inbox: file, args: UNLIMITED });
  const { origin } = server;
  const { page, context } = await visit(browser, origin);
  try {
    await load(page);
    await classifyAll(page, ['refund my bill', SECRET]);
    await waitForCounts(page, { queued: 0, sent: 2, failed: 0 });
    await server.stop('SIGKILL');
    await classifyAll(page, ['why was I charged twice?', 'cancel my plan and refund me']);
    await page.waitForFunction(async () => (await window.clf.outbox?.list())?.some(({ error }) => error?.code === 'network'));
    server = await startServer({ inbox: file, port: Number(new URL(origin).port), args: UNLIMITED });
    // Without anybody’s help: by the timer of the next attempt.
    await waitForCounts(page, { queued: 0, sent: 4, failed: 0 });
    const texts = (await inbox(origin)).map(({ text }) => text).toReversed();
    assert.deepEqual(texts, ['refund my bill', REDACTED, 'why was I charged twice?', 'cancel my plan and refund me']);
  } finally {
    await context.close();
    await server.stop();
  }
});

test('a server that limits is given the time that it asks for', async () => {
  const server = await startServer({ args: ['--rate', '1', '--burst', '1'] });
  const { page, context } = await visit(browser, server.origin);
  try {
    const posts = postsOf(context);
    /** @type {{ at: number, status: number, seconds: number }[]} */
    const answers = [];
    context.on('response', (response) => {
      if (response.request().method() !== 'POST') return;
      answers.push({ at: Date.now(), status: response.status(), seconds: Number(response.headers()['retry-after'] ?? 0) });
    });
    await load(page);
    await classifyAll(page, ['refund my bill', 'refund my other bill', 'refund all bills']);
    await waitForCounts(page, { queued: 0, sent: 3, failed: 0 });
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(refused.length > 0, 'the limit was met');
    for (const { at, seconds } of refused) {
      const next = posts.find((post) => post.at > at + 50);
      assert.ok(next && next.at - at >= seconds * 1_000 - 50, `after ${next && next.at - at} ms instead of ${seconds} s`);
    }
    assert.equal((await inbox(server.origin)).length, 3);
  } finally {
    await context.close();
    await server.stop();
  }
});

test('a token lets a page send, and is asked for anew when it changes', async () => {
  const tokens = { agent: 'agent-token-0123456789', sender: 'sender-token-0123456789' };
  for (const [name, token] of Object.entries(tokens)) writeFileSync(join(folder, name), `${token}\n`);
  const args = [...UNLIMITED, '--token-file', join(folder, 'agent'), '--submit-token-file', join(folder, 'sender')];
  const server = await startServer({ args });
  const { page, context } = await visit(browser, server.origin);
  try {
    await page.evaluate(async (url) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const state = /** @type {{ token?: string }} */ (/** @type {unknown} */ (window));
      state.token = 'a-token-that-has-expired';
      window.clf = await IntentClassifier.load({ escalation: { url, token: async () => state.token ?? '' } });
    }, INBOX);
    await classifyAll(page, [SECRET]);
    await page.waitForFunction(async () => (await window.clf.outbox?.list())?.[0]?.error?.code === 'unauthorized');
    assert.equal((await entries(page))[0].state, 'queued');
    await page.evaluate(async (token) => {
      /** @type {{ token?: string }} */ (/** @type {unknown} */ (window)).token = token;
      await window.clf.outbox?.flush();
    }, tokens.sender);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    const read = (/** @type {string} */ token) => fetch(server.origin + INBOX, { headers: { authorization: `Bearer ${token}` } });
    assert.equal((await read(tokens.sender)).status, 401);
    const { items } = /** @type {{ items: { text: string }[] }} */ (await (await read(tokens.agent)).json());
    assert.deepEqual(items.map(({ text }) => text), [REDACTED]);
  } finally {
    await context.close();
    await server.stop();
  }
});

test('a page of another origin on the list may send; others may not', async () => {
  const page1 = await startServer();
  const allowed = page1.origin;
  const server = await startServer({ args: [...UNLIMITED, '--allow-origin', allowed] });
  // The pages’ own policy allows no other origin: a console elsewhere has its own.
  const policy = async (/** @type {import('../lib/browser.js').BrowserContext} */ context) =>
    context.route('**/', async (route) => {
      const response = await route.fetch();
      const headers = { ...response.headers() };
      headers['content-security-policy'] = headers['content-security-policy'].replace("connect-src 'self'", `connect-src 'self' ${server.origin}`);
      await route.fulfill({ response, headers });
    });
  const stranger = await startServer();
  try {
    for (const [origin, expected] of /** @type {const} */ ([[allowed, 1], [stranger.origin, 1]])) {
      const { page, context } = await visit(browser, origin, policy);
      await load(page, { url: server.origin + INBOX });
      await classifyAll(page, ['refund my bill']);
      if (origin === allowed) await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      else await page.waitForFunction(async () => (await window.clf.outbox?.list())?.[0]?.error?.code === 'network');
      assert.equal((await inbox(server.origin)).length, expected, origin);
      await context.close();
    }
  } finally {
    await Promise.all([page1.stop(), stranger.stop(), server.stop()]);
  }
});
