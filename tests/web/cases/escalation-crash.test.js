/** A browser that is killed with messages in its outbox, and a server that is while one is on its way. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, launchFolder, visit } from '../lib/browser.js';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, entries, inbox, load, postsOf, waitForCounts, waitForError } from '../lib/escalation.js';
import { openOutbox, put } from '../lib/outbox.js';
import { startServer } from '../lib/server.js';

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
const folder = mkdtempSync(join(tmpdir(), 'relayops-crash-'));

before(async () => {
  server = await startServer({ args: UNLIMITED });
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('the browser is killed: what was queued is delivered by the next one, once', async () => {
  const first = await launchFolder(folder);
  const page = await first.context.newPage();
  await first.context.route(`**${INBOX}`, (route) => route.abort());
  await page.goto(`${server.origin}/inbox.html`);
  await load(page);
  await classifyAll(page, [SECRET, 'why was I charged twice?']);
  await waitForError(page, 'network');
  await first.kill();
  assert.equal((await inbox(server.origin)).length, 0);

  const second = await launchFolder(folder);
  try {
    const next = await second.context.newPage();
    await next.goto(`${server.origin}/inbox.html`);
    await load(next);
    await next.evaluate(() => window.clf.outbox?.flush());
    await waitForCounts(next, { queued: 0, sent: 2, failed: 0 });
    assert.deepEqual((await inbox(server.origin)).map(({ text }) => text).toSorted(), [REDACTED, 'why was I charged twice?']);
  } finally {
    await second.kill();
  }
});

test('the server is killed while a message is on its way: it waits, and the next server stores it once', async () => {
  const file = join(folder, 'inbox.sqlite3');
  const first = await startServer({ args: UNLIMITED, inbox: file });
  const browser = await launch();
  try {
    const { page, context } = await visit(browser, first.origin);
    const posts = postsOf(context);
    await openOutbox(page);
    // Halted, it takes connections and answers none.
    void first.stop('SIGSTOP');
    const failed = context.waitForEvent('requestfailed', (request) => request.method() === 'POST');
    await put(page, ['refund my bill']);
    while (posts.length === 0) await page.waitForTimeout(20);
    await page.waitForTimeout(500);
    assert.deepEqual((await entries(page)).map(({ state, attempts }) => [state, attempts]), [['queued', 0]], 'on its way');
    await first.stop('SIGKILL');
    await failed;
    await waitForError(page, 'network');
    const [waiting] = await entries(page);
    assert.deepEqual([waiting.state, waiting.text], ['queued', 'refund my bill']);
    const second = await startServer({ args: UNLIMITED, inbox: file, port: Number(new URL(first.origin).port) });
    try {
      assert.equal(second.origin, first.origin);
      await page.evaluate(() => window.outbox.flush());
      await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
      const [sent] = await entries(page);
      assert.deepEqual((await inbox(second.origin)).map(({ id, text }) => [id, text]), [[sent.id, 'refund my bill']]);
      assert.deepEqual([...new Set(posts.map(({ key }) => key))], [waiting.key]);
    } finally {
      await second.stop();
    }
  } finally {
    await browser.close();
    await first.stop('SIGKILL');
  }
});
