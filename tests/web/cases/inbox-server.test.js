/** The outbox and servers that go away, limit, or ask for a token. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
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
    await waitForError(page, 'network');
    server = await startServer({ inbox: file, port: Number(new URL(origin).port), args: UNLIMITED });
    // Without anybody’s help: by the timer of the next attempt.
    await waitForCounts(page, { queued: 0, sent: 4, failed: 0 });
    const texts = (await inbox(origin)).map(({ text }) => text).toReversed();
    assert.deepEqual(texts.slice(0, 2), ['refund my bill', REDACTED]);
    // Which of these goes first depends on how often each was tried before the server was back.
    assert.deepEqual(texts.slice(2).toSorted(), ['cancel my plan and refund me', 'why was I charged twice?']);
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
    await waitForError(page, 'unauthorized');
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

/**
 * The page at an origin of its own, whose policy lets it call an inbox elsewhere.
 *
 * @param {string} upstream Origin of a server with the page.
 * @param {() => string} inboxOrigin
 * @returns {Promise<{ origin: string, close: () => void }>}
 */
async function hostElsewhere(upstream, inboxOrigin) {
  const host = createServer(async (request, response) => {
    const answer = await fetch(upstream + request.url);
    const headers = new Headers(answer.headers);
    for (const name of ['content-encoding', 'content-length', 'transfer-encoding']) headers.delete(name);
    const policy = headers.get('content-security-policy') ?? '';
    headers.set('content-security-policy', policy.replace("connect-src 'self'", `connect-src 'self' ${inboxOrigin()}`));
    response.writeHead(answer.status, Object.fromEntries(headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise((resolve) => host.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (host.address());
  return { origin: `http://127.0.0.1:${port}`, close: () => host.close() };
}

test('a page of another origin on the list may send; others may not', async () => {
  const files = await startServer();
  let inboxOrigin = '';
  const [friend, stranger] = await Promise.all([1, 2].map(() => hostElsewhere(files.origin, () => inboxOrigin)));
  const server = await startServer({ args: [...UNLIMITED, '--allow-origin', friend.origin] });
  inboxOrigin = server.origin;
  try {
    for (const host of [friend, stranger]) {
      const { page, context, requests } = await visit(browser, host.origin);
      await load(page, { url: server.origin + INBOX });
      await classifyAll(page, ['refund my bill']);
      if (host === friend) await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      else await waitForError(page, 'network');
      assert.ok(requests.includes(server.origin + INBOX), 'the page’s policy let it try');
      assert.equal((await inbox(server.origin)).length, 1);
      await context.close();
    }
  } finally {
    friend.close();
    stranger.close();
    await Promise.all([files.stop(), server.stop()]);
  }
});
