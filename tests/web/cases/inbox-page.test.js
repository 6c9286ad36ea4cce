/** The inbox in an agent's hands: corrections that are stored, those that are not, and taking them along. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { complaintsOf, installHelpers, launch } from '../lib/browser.js';
import { INBOX, UNLIMITED } from '../lib/escalation.js';
import { waitForInbox } from '../lib/page.js';
import { startServer } from '../lib/server.js';

/** @typedef {import('../lib/browser.js').Page} Page */
/** @typedef {Awaited<ReturnType<typeof startServer>>} Server */

const TOKEN = 'agent-token-0123456789';
const LABELS = ['reset_device', 'device_status', 'device_faq', 'billing', 'greeting', 'unknown'];
const folder = mkdtempSync(join(tmpdir(), 'relayops-inbox-page-'));

/** @type {import('../lib/browser.js').Browser} */
let browser;
/** Of nobody in particular, and one that asks for a token. @type {Server} */
let open;
/** @type {Server} */
let guarded;

before(async () => {
  writeFileSync(join(folder, 'token'), `${TOKEN}\n`);
  browser = await launch();
  open = await startServer({ args: UNLIMITED });
  guarded = await startServer({ args: [...UNLIMITED, '--token-file', join(folder, 'token')] });
});
after(async () => {
  await browser?.close();
  await Promise.all([open?.stop(), guarded?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

/**
 * Opens the inbox's page, hands it to `body`, and closes it.
 *
 * @param {Server} server
 * @param {(given: { page: Page, complaints: string[] }) => Promise<void>} body
 */
async function withInbox(server, body) {
  const context = await browser.newContext();
  const complaints = complaintsOf(context);
  await context.addInitScript(installHelpers);
  try {
    const page = await context.newPage();
    await page.goto(`${server.origin}/inbox.html`);
    await body({ page, complaints });
  } finally {
    await context.close();
  }
}

/**
 * @param {Server} server
 * @param {{ text: string } & Record<string, unknown>} given
 * @returns {Promise<number>} Its id.
 */
async function post(server, given) {
  const response = await fetch(server.origin + INBOX, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID(), authorization: `Bearer ${TOKEN}` },
    body: JSON.stringify({ intent: 'billing', reason: 'intent:billing', created_ms: 1, ...given }),
  });
  assert.equal(response.status, 201);
  return /** @type {{ id: number }} */ (await response.json()).id;
}

/**
 * @param {number} id
 * @returns {Promise<{ corrected_intent: string | null, handled_ms: number | null }>} As the server has it.
 */
async function stored(id) {
  return /** @type {any} */ (await (await fetch(`${open.origin}${INBOX}/${id}`)).json());
}

/** What an agent's change may meet, and what is said of it. @type {[string, (route: import('playwright-core').Route) => Promise<void>, RegExp][]} */
const FAULTS = [
  [
    'a disk that is full',
    (route) => route.fulfill({ status: 503, json: { error: { code: 'storage', message: 'the inbox can\'t be read or written; nothing was stored' } } }),
    /^Not saved\. storage: the inbox can't be read or written; nothing was stored$/,
  ],
  ['a proxy without a server', (route) => route.fulfill({ status: 502, body: '<title>Bad gateway</title>' }), /^Not saved\. http_502: /],
  ['a network that is gone', (route) => route.abort(), /^Not saved\. network: the server can’t be reached/],
];

for (const [name, fault, said] of FAULTS) {
  test(`a label and a mark that are not stored are not shown as if they were: ${name}`, async () => {
    const id = await post(open, { text: `message of the test of ${name}` });
    await withInbox(open, async ({ page }) => {
      const row = page.locator('#inbox li', { hasText: name });
      const [select, alert] = [row.getByRole('combobox'), row.getByRole('alert')];
      await page.route(`**${INBOX}/${id}`, fault);
      await select.focus();
      await select.selectOption('device_faq');
      await alert.waitFor();
      assert.match((await alert.textContent()) ?? '', said);
      assert.equal(await select.inputValue(), '', 'as it is stored');
      assert.equal(await page.evaluate(() => document.activeElement?.localName), 'select', 'the focus stays');
      const earlier = await alert.elementHandle();
      await row.getByRole('button', { name: 'Mark handled' }).click();
      await page.waitForFunction((shown) => !shown?.isConnected, earlier);
      await alert.waitFor();
      assert.equal(await row.getByRole('button').textContent(), 'Mark handled');
      assert.deepEqual(await stored(id).then(({ corrected_intent, handled_ms }) => [corrected_intent, handled_ms]), [null, null]);
      await page.unroute(`**${INBOX}/${id}`);
      await select.selectOption('device_faq');
      await alert.waitFor({ state: 'detached' });
      assert.equal(await select.inputValue(), 'device_faq');
      assert.equal((await stored(id)).corrected_intent, 'device_faq');
      // What was stored before is what a failure falls back to.
      await page.route(`**${INBOX}/${id}`, fault);
      await select.selectOption('greeting');
      await alert.waitFor();
      assert.equal(await select.inputValue(), 'device_faq');
    });
  });
}

test('a token that no longer holds is asked for again, and the change is not shown as stored', async () => {
  const id = await post(guarded, { text: 'message of the test of tokens' });
  await withInbox(guarded, async ({ page }) => {
    await waitForInbox(page, 'Needs a token');
    await page.fill('#token', TOKEN);
    await page.press('#token', 'Enter');
    await waitForInbox(page);
    const select = page.locator('#inbox li', { hasText: 'test of tokens' }).getByRole('combobox');
    // The header that the page sends is one that this server refuses.
    await page.route(`**${INBOX}/${id}`, (route) => route.continue({ headers: { ...route.request().headers(), authorization: 'Bearer another-token-0123456789' } }));
    await select.selectOption('greeting');
    await page.getByRole('alert').filter({ hasText: 'Not saved. unauthorized' }).waitFor();
    assert.equal(await select.inputValue(), '');
    await waitForInbox(page, 'Needs a token');
    await page.unroute(`**${INBOX}/${id}`);
    await page.fill('#token', TOKEN);
    await page.press('#token', 'Enter');
    await waitForInbox(page);
    await select.selectOption('greeting');
    await page.waitForFunction(() => document.querySelector('#inbox select option:checked')?.textContent === 'Greeting');
  });
});

test('a message that was not classified, or by a model with other labels, can be given each of the server’s', async () => {
  const given = [
    { text: 'unread: too long', intent: 'unknown', reason: 'too_long' },
    { text: 'unread: out of memory', intent: 'unknown', reason: 'error:out_of_memory' },
    { text: 'unread: other labels', intent: 'refund', confidence: 1, probabilities: { refund: 1, complaint: 0 } },
  ];
  await withInbox(open, async ({ page, complaints }) => {
    await waitForInbox(page);
    for (const message of given) {
      // One that comes live.
      const id = await post(open, message);
      const select = page.locator('#inbox li', { hasText: message.text }).getByRole('combobox');
      await select.waitFor();
      const values = await select.locator('option').evaluateAll((options) => options.map((option) => /** @type {HTMLOptionElement} */ (option).value));
      assert.deepEqual(values, ['', ...LABELS], message.text);
      const saved = page.waitForResponse((response) => response.request().method() === 'PATCH');
      await select.selectOption('reset_device');
      assert.equal((await saved).status(), 200);
      assert.equal((await stored(id)).corrected_intent, 'reset_device');
    }
    assert.deepEqual(complaints, []);
  });
});

test('a server’s own labels are those that are offered', async () => {
  const server = await startServer({ args: [...UNLIMITED, '--label', 'refund', '--label', 'complaint'] });
  try {
    await post(server, { text: 'my refund' });
    await withInbox(server, async ({ page }) => {
      const options = page.locator('#inbox li').getByRole('combobox').locator('option');
      await options.first().waitFor({ state: 'attached' });
      assert.deepEqual(await options.allTextContents(), ['Right intent?', 'refund', 'complaint']);
    });
  } finally {
    await server.stop();
  }
});

test('corrections are taken along with the token; without it the page says why not', async () => {
  const id = await post(guarded, { text: 'message of the test of the export' });
  await withInbox(guarded, async ({ page }) => {
    /** @type {unknown[]} */
    const downloads = [];
    page.on('download', (download) => downloads.push(download));
    await waitForInbox(page, 'Needs a token');
    await page.click('#inbox-export');
    await page.waitForSelector('#inbox-error:not([hidden])');
    assert.match((await page.textContent('#inbox-error')) ?? '', /^unauthorized: /);
    await page.fill('#token', TOKEN);
    await page.press('#token', 'Enter');
    await waitForInbox(page);
    const select = page.locator('#inbox li', { hasText: 'test of the export' }).getByRole('combobox');
    const saved = page.waitForResponse((response) => response.request().method() === 'PATCH');
    await select.selectOption('greeting');
    await saved;
    assert.equal(downloads.length, 0);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#inbox-export')]);
    assert.equal(download.suggestedFilename(), 'corrected.jsonl');
    const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line));
    const wanted = { text: 'message of the test of the export', intent: 'greeting', group: `greeting/inbox-${id}`, slice: 'core' };
    assert.deepEqual(lines.find(({ text }) => text === wanted.text), wanted);
    assert.ok(await page.isHidden('#inbox-error'));
  });
});

test('where nothing was corrected there is nothing to take along', async () => {
  const server = await startServer({ args: UNLIMITED });
  try {
    await post(server, { text: 'refund my bill' });
    await withInbox(server, async ({ page }) => {
      await waitForInbox(page);
      await page.click('#inbox-export');
      await page.waitForFunction(() => document.querySelector('#inbox-exported')?.textContent === 'No message has been corrected yet.');
    });
  } finally {
    await server.stop();
  }
});

test('older messages that do not come leave a word, and come when they are asked for again', async () => {
  const server = await startServer({ args: UNLIMITED });
  try {
    for (let index = 1; index <= 60; index += 1) await post(server, { text: `message ${index}` });
    await withInbox(server, async ({ page }) => {
      await page.waitForFunction(() => document.querySelectorAll('#inbox li').length === 50);
      await page.route('**/api/escalations?before=*', (route) => route.abort());
      await page.click('#inbox-older');
      await page.waitForSelector('#inbox-error:not([hidden])');
      assert.match((await page.textContent('#inbox-error')) ?? '', /^network: /);
      await page.unroute('**/api/escalations?before=*');
      await page.click('#inbox-older');
      await page.waitForFunction(() => document.querySelectorAll('#inbox li').length === 60);
      assert.ok(await page.isHidden('#inbox-error'));
    });
  } finally {
    await server.stop();
  }
});

/**
 * Gives a server of its own so many messages, and its inbox's page to `body`.
 *
 * @param {number} count
 * @param {(given: { page: Page, server: Server, texts: () => Promise<string[]> }) => Promise<void>} body
 */
async function withMessages(count, body) {
  const server = await startServer({ args: UNLIMITED });
  try {
    for (let index = 1; index <= count; index += 1) await post(server, { text: `message ${index}` });
    await withInbox(server, async ({ page }) => {
      await waitForInbox(page);
      await body({ page, server, texts: () => page.locator('#inbox blockquote').allTextContents() });
    });
  } finally {
    await server.stop();
  }
}

/** @param {number} count @returns {string[]} As the list has them. */
function newestFirst(count) {
  return Array.from({ length: count }, (_, index) => `message ${count - index}`);
}

/** @param {Page} page @param {number} count */
async function waitForRows(page, count) {
  await page.waitForFunction((count) => document.querySelectorAll('#inbox li').length === count, count);
}

/**
 * Keeps the page from its server while `meanwhile` goes on.
 *
 * @param {Page} page
 * @param {() => Promise<unknown>} meanwhile
 */
async function disconnected(page, meanwhile) {
  await page.context().setOffline(true);
  await waitForInbox(page, 'Connecting');
  await meanwhile();
  await page.context().setOffline(false);
  await waitForInbox(page);
}

test('after more messages were missed than a page holds, every one is reached', async () => {
  await withMessages(60, async ({ page, server, texts }) => {
    await waitForRows(page, 50);
    await disconnected(page, async () => {
      for (let index = 61; index <= 120; index += 1) await post(server, { text: `message ${index}` });
    });
    await page.waitForFunction(() => document.querySelector('#inbox blockquote')?.textContent === 'message 120');
    assert.deepEqual(await texts(), newestFirst(120).slice(0, 50), 'no gap in what is shown');
    for (const count of [100, 120]) {
      await page.click('#inbox-older');
      await waitForRows(page, count);
    }
    assert.deepEqual(await texts(), newestFirst(120));
    assert.ok(await page.isHidden('#inbox-older'));
  });
});

test('after a connection that broke, older rows stay and are as the server has them', async () => {
  await withMessages(60, async ({ page, server, texts }) => {
    await waitForRows(page, 50);
    await page.click('#inbox-older');
    await waitForRows(page, 60);
    await disconnected(page, async () => {
      const init = { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"handled":true,"corrected_intent":"greeting"}' };
      assert.equal((await fetch(`${server.origin}${INBOX}/5`, init)).status, 200);
      for (let index = 61; index <= 70; index += 1) await post(server, { text: `message ${index}` });
    });
    const row = page.locator('#inbox li[data-id="5"]');
    await row.getByRole('button', { name: 'Open again' }).waitFor();
    assert.equal(await row.getByRole('combobox').inputValue(), 'greeting');
    assert.deepEqual(await texts(), newestFirst(70));
    assert.ok(await page.isHidden('#inbox-older'));
  });
});

test('a change of a message that is not shown yet does not put it below those that are', async () => {
  await withMessages(60, async ({ page, server, texts }) => {
    await waitForRows(page, 50);
    await fetch(`${server.origin}${INBOX}/1`, { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"handled":true}' });
    await post(server, { text: 'message 61' });
    await waitForRows(page, 51);
    assert.deepEqual(await texts(), newestFirst(61).slice(0, 51));
  });
});

test('what arrives is said, and not one by one', async () => {
  await withMessages(1, async ({ page, server }) => {
    await waitForRows(page, 1);
    const said = page.locator('#inbox-arrivals[role="status"]');
    assert.equal(await said.textContent(), '', 'what was there before is no arrival');
    await page.evaluate(() => {
      const state = /** @type {{ said: string[] }} */ (/** @type {unknown} */ (window));
      state.said = [];
      const status = /** @type {HTMLElement} */ (document.querySelector('#inbox-arrivals'));
      new MutationObserver(() => state.said.push(status.textContent ?? '')).observe(status, { childList: true });
    });
    const heard = () => page.evaluate(() => /** @type {{ said: string[] }} */ (/** @type {unknown} */ (window)).said);
    await post(server, { text: 'message 2' });
    await page.waitForFunction(() => document.querySelector('#inbox-arrivals')?.textContent !== '');
    assert.deepEqual(await heard(), ['1 new escalation: Billing, no. 2.']);
    await Promise.all([3, 4, 5].map((index) => post(server, { text: `message ${index}` })));
    await page.waitForFunction(() => document.querySelector('#inbox-arrivals')?.textContent?.includes('no. 5'));
    assert.deepEqual((await heard()).slice(1), ['3 new escalations, the latest: Billing, no. 5.']);
    await fetch(`${server.origin}${INBOX}/5`, { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"handled":true}' });
    await page.locator('#inbox li[data-id="5"].handled').waitFor();
    await page.waitForTimeout(3_500);
    assert.equal((await heard()).length, 2, 'a change is no arrival');
  });
});

test('a page of an origin that is not allowed is not asked for a token', async () => {
  await withInbox(open, async ({ page }) => {
    await page.route(`**${INBOX}`, (route) => route.fulfill({ status: 403, json: { error: { code: 'origin_not_allowed', message: 'pages of this origin may not call this server; --allow-origin adds one' } } }));
    await page.reload();
    await waitForInbox(page, 'Refused');
    assert.ok(await page.isHidden('#inbox-token'));
    assert.match((await page.textContent('#inbox-empty')) ?? '', /does not let a page at this address/);
  });
});

test('a long message can be scrolled by keyboard, and a short one is no stop on the way', async () => {
  await withMessages(1, async ({ page, server }) => {
    await post(server, { text: 'a long story '.repeat(400) });
    const quotes = page.locator('#inbox blockquote');
    await page.waitForSelector('#inbox blockquote[tabindex="0"]');
    assert.deepEqual(await quotes.evaluateAll((all) => all.map((quote) => [quote.getAttribute('tabindex'), quote.getAttribute('aria-label')])), [['0', 'Message 2'], [null, 'Message 1']]);
    await quotes.first().focus();
    await page.keyboard.press('End');
    await page.waitForFunction(() => Number(document.querySelector('#inbox blockquote')?.scrollTop) > 100);
  });
});
