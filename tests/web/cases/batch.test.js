/** The batch tab: ten thousand rows, sorting, filtering, stopping, exports. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { messages } from '../lib/escalation.js';
import { batch, tableRows } from '../lib/page.js';
import { suite } from '../lib/suite.js';

const web = suite();

/** Rows between two turns of the event loop, at the most: CHUNK_ROWS of www/ui/classify-each.js. */
const CHUNK_ROWS = 50;

/** Rows in the document at once: PAGE_ROWS of www/batch/result-table.js. */
const PAGE_ROWS = 25;

/**
 * Longest that the page may be held up at once, in milliseconds. No benchmark: nothing that it does takes a tenth of that by
 * itself, and the rest is room for a machine that is busy with other things. Drawing all 10,000 rows takes two seconds.
 */
const HELD_MS = 1_000;

/** Notes how long the page's main thread was held up, of whatever took it 50 ms or more (Long Tasks API). */
function watchLongTasks() {
  const state = /** @type {{ held: number[] }} */ (/** @type {unknown} */ (window));
  state.held = [];
  new PerformanceObserver((list) => state.held.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
}

/** @param {import('../lib/browser.js').Page} page @param {number} ms Holds the page up for that long, and waits until that was noted. */
async function holdUp(page, ms) {
  await page.evaluate((ms) => {
    setTimeout(() => {
      const end = performance.now() + ms;
      while (performance.now() < end);
    });
  }, ms);
  await page.waitForFunction((ms) => /** @type {{ held: number[] }} */ (/** @type {unknown} */ (window)).held.some((held) => held >= ms), ms);
}

/** Counts turns of the event loop, and notes at which turn each step of the progress came. */
function countTurns() {
  const state = /** @type {{ turns: number, steps: { done: number, turns: number }[] }} */ (/** @type {unknown} */ (window));
  Object.assign(state, { turns: 0, steps: [] });
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    state.turns += 1;
    port2.postMessage(null);
  };
  port2.postMessage(null);
  const bar = /** @type {HTMLElement} */ (document.querySelector('#batch-bar'));
  new MutationObserver(() => state.steps.push({ done: Number(bar.dataset.done), turns: state.turns })).observe(bar, { attributeFilter: ['data-done'] });
}

/** @param {string} field */
function quoted(field) {
  return `"${field.replaceAll('"', '""')}"`;
}

test('10,000 rows: the page takes its turns all the while, and holds a page of rows at a time', { timeout: 600_000 }, async () => {
  const texts = messages(400);
  const rows = Array.from({ length: 10_000 }, (_, index) => `${index},${quoted(texts[index % texts.length])}`);
  await web.withPage(
    async ({ page, requests, complaints }) => {
      await page.evaluate(watchLongTasks);
      // An observer that sees nothing would prove nothing.
      await holdUp(page, 100);
      await page.evaluate(() => Object.assign(window, { held: [] }));
      await page.evaluate(countTurns);
      const started = requests.length;
      await batch(page, 'many.csv', `id,message\r\n${rows.join('\r\n')}\r\n`);
      const { steps, most } = await page.evaluate(() => {
        const { steps } = /** @type {{ steps: { done: number, turns: number }[] }} */ (/** @type {unknown} */ (window));
        return { steps, most: document.querySelectorAll('#batch-rows tr').length };
      });
      assert.equal(steps.length, 10_000 / CHUNK_ROWS, 'a step for each chunk');
      assert.equal(steps.at(-1)?.done, 10_000);
      for (const [index, { done, turns }] of steps.entries()) {
        assert.equal(done, (index + 1) * CHUNK_ROWS);
        if (index > 0) assert.ok(turns > steps[index - 1].turns, `a turn between row ${steps[index - 1].done} and row ${done}`);
      }
      assert.equal(most, PAGE_ROWS, 'rows in the document');
      assert.equal(await page.textContent('#batch-place'), 'Rows 1 to 25 of 10,000');
      await page.click('#batch-head button:has-text("Confidence")');
      await page.click('#batch-head button:has-text("Confidence")');
      assert.equal(await page.getAttribute('#batch-head [data-field="confidence"]', 'aria-sort'), 'descending');
      const shares = (await tableRows(page)).map((cells) => Number.parseFloat(cells[3]));
      assert.deepEqual(shares, shares.toSorted((a, b) => b - a));
      await page.click('#batch-after');
      assert.equal(await page.textContent('#batch-place'), 'Rows 26 to 50 of 10,000');
      assert.equal(await page.locator('#batch-rows tr').count(), PAGE_ROWS);
      assert.deepEqual(requests.slice(started), [], 'nothing of it is sent');
      assert.deepEqual(complaints, []);
      const held = await page.evaluate(() => /** @type {{ held: number[] }} */ (/** @type {unknown} */ (window)).held);
      const longest = Math.max(0, ...held);
      console.log(`MEASURED batch: 10,000 rows, ${held.length} tasks of 50 ms or more on the page’s main thread, the longest ${longest.toFixed(0)} ms`);
      assert.ok(longest < HELD_MS, `the page was held up for ${longest} ms`);
      console.log(`MEASURED batch: 10,000 rows, ${steps.length} chunks, at least ${Math.min(...steps.slice(1).map(({ turns }, at) => turns - steps[at].turns))} turns of the event loop between two`);
    },
    undefined,
    { keepModel: true },
  );
});

test('the answers are those of classify, in the order of the file, and the exports have them', async () => {
  const texts = ['my internet is down', 'why was I charged twice?', '', 'hello there', 'my internet is down', 'x'.repeat(2_001)];
  const text = texts.map((one, index) => JSON.stringify({ id: index, message: one })).join('\n');
  await web.withPage(
    async ({ page, complaints }) => {
      const expected = await page.evaluate(async (texts) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load();
        return (await classifier.classifyBatch(texts)).map((one) => (one.status === 'fulfilled' ? one.value : null));
      }, texts);
      await batch(page, 'rows.jsonl', text);
      const routes = (await tableRows(page)).map((cells) => cells[4]);
      assert.deepEqual(routes, expected.map((one) => (one === null ? 'Not classified' : one.decision.route === 'local' ? 'This device' : 'Escalates')));
      const exports = [];
      // One after the other: of two at once a browser keeps one back.
      for (const button of ['#batch-jsonl', '#batch-csv']) {
        const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
        exports.push({ name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') });
      }
      assert.deepEqual(exports.map(({ name }) => name), ['rows-intents.jsonl', 'rows-intents.csv']);
      const lines = exports[0].text.trimEnd().split('\n').map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ message }) => message), texts);
      assert.deepEqual(lines.map(({ predicted_intent }) => predicted_intent), expected.map((one) => one?.intent ?? ''));
      assert.deepEqual(lines.map(({ predicted_confidence }) => predicted_confidence), expected.map((one) => one?.confidence ?? null));
      assert.equal(lines[2].reason, 'empty_message');
      assert.equal(exports[1].text.split('\r\n')[0], 'id,message,predicted_intent,predicted_confidence,route,reason');
      await page.selectOption('#batch-filter', 'failed');
      assert.equal(await page.locator('#batch-rows tr').count(), 1);
      await page.selectOption('#batch-filter', 'local');
      assert.equal(await page.locator('#batch-rows tr').count(), routes.filter((route) => route === 'This device').length);
      assert.equal(await page.locator('#batch-charts table.bars').count(), 3);
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true },
  );
});

test('a column is chosen, with and without a heading', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.click('#tab-batch');
      const buffer = Buffer.from('hello there;1\nmy internet is down;2\n');
      await page.setInputFiles('#batch-file', { name: 'bare.csv', mimeType: 'text/csv', buffer });
      await page.waitForSelector('#batch-setup:not([hidden])');
      assert.equal(await page.textContent('#batch-size'), '1 row, 2 columns');
      await page.uncheck('#batch-header');
      await page.waitForFunction(() => document.querySelector('#batch-size')?.textContent === '2 rows, 2 columns');
      assert.deepEqual(await page.locator('#batch-column option').allTextContents(), ['column 1', 'column 2']);
      assert.deepEqual(await page.locator('#batch-preview li').allTextContents(), ['hello there', 'my internet is down']);
      await page.selectOption('#batch-column', '1');
      assert.deepEqual(await page.locator('#batch-preview li').allTextContents(), ['1', '2']);
      await batch(page, 'one.csv', 'hello there\n');
      assert.match((await page.textContent('#batch-status')) ?? '', /^1 row in /);
    },
    undefined,
    { keepModel: true },
  );
});

test('stopping keeps what is done; a dropped file takes its place; a broken one says where', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      await page.click('#tab-batch');
      const buffer = Buffer.from(`text\n${messages(500).map(quoted).join('\n')}\n`);
      await page.setInputFiles('#batch-file', { name: 'stop.csv', mimeType: 'text/csv', buffer });
      await page.click('#batch-run');
      await page.waitForFunction(() => Number(/** @type {HTMLElement} */ (document.querySelector('#batch-bar')).dataset.done) >= 50);
      await page.click('#batch-cancel');
      await page.waitForFunction(() => /^Stopped after [\d,]+ of 500 rows\.$/.test(document.querySelector('#batch-status')?.textContent ?? ''));
      assert.ok((await page.locator('#batch-rows tr').count()) > 0);
      assert.ok(await page.isEnabled('#batch-run'));
      await page.click('#tab-live');
      await page.evaluate(() => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(['text\n"never closed'], 'dropped.csv'));
        document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
      });
      await page.waitForSelector('#batch-error:not([hidden])');
      assert.equal(await page.textContent('#batch-error'), 'invalid_csv: line 2: a quote is opened and never closed');
      assert.equal(await page.getAttribute('#tab-batch', 'aria-selected'), 'true');
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true },
  );
});
