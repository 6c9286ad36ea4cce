/** A browser that is killed with messages in its outbox. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launchFolder } from '../lib/browser.js';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, inbox, load, waitForCounts, waitForError } from '../lib/escalation.js';
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
    assert.deepEqual((await inbox(server.origin)).map(({ text }) => text), ['why was I charged twice?', REDACTED]);
  } finally {
    await second.kill();
  }
});
