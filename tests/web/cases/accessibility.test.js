/** axe-core on every tab and state of the page, light and dark, narrow and wide; and the tabs by keyboard. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { UNLIMITED } from '../lib/escalation.js';
import { batch, evaluate, send, waitForInbox } from '../lib/page.js';
import { suite } from '../lib/suite.js';

const web = suite({ args: UNLIMITED });
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * @param {import('../lib/browser.js').Page} page
 * @param {string} state
 */
async function check(page, state) {
  // Not as an element, which the page's policy would refuse.
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(async () => {
    const { axe } = /** @type {{ axe: typeof import('axe-core') }} */ (/** @type {unknown} */ (window));
    const found = await axe.run(document, { resultTypes: ['violations'] });
    const brief = found.violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`) }));
    return { violations: brief, passes: found.passes.length };
  });
  assert.ok(passes > 10, 'axe has looked');
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(grave, [], `${state}: ${JSON.stringify(grave, null, 1)}`);
  for (const { id, impact } of violations) console.log(`axe, ${state}: ${id} (${impact})`);
}

/** More than fits in a box of its own. */
const LONG = 'charge me no more, '.repeat(60).trim();

/** What may stand in place of an inbox, and what the page says then. @type {[string, string, (route: import('playwright-core').Route) => Promise<void>][]} */
const AWAY = [
  ['needs a token', 'Needs a token', (route) => route.fulfill({ status: 401, json: {} })],
  ['refuses', 'Refused', (route) => route.fulfill({ status: 403, json: {} })],
  ['is not there', 'No inbox here', (route) => route.fulfill({ contentType: 'text/html', body: '' })],
  ['can’t be reached', 'Connecting', (route) => route.abort()],
];

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  for (const width of [390, 1440]) {
    test(`no serious or critical finding of axe-core, ${colorScheme}, ${width} pixels wide`, { timeout: 600_000 }, async () => {
      await web.withPage(
        async ({ page, context }) => {
          const state = (/** @type {string} */ name) => `${name}, ${colorScheme}, ${width}`;
          await waitForInbox(page);
          await check(page, state('live, empty'));
          await send(page, 'hello there');
          await send(page, 'why was I charged twice?');
          await send(page, LONG);
          await page.waitForSelector('#inbox blockquote[tabindex="0"]');
          await page.click('#console summary, .console summary');
          await check(page, state('live, with messages'));
          await page.click('#change');
          await page.waitForSelector('#offered:not([hidden])');
          await check(page, state('choice of models'));
          await page.click('#change');
          await page.check('#private');
          await check(page, state('private'));
          await page.click('#tab-batch');
          await check(page, state('batch, empty'));
          await batch(page, 'rows.csv', 'text\nhello there\nwhy was I charged twice?\n""\n');
          await check(page, state('batch, results'));
          const many = Array.from({ length: 20_000 }, (_, index) => `refund ${index} of my bills`).join('\n');
          await page.setInputFiles('#batch-file', { name: 'many.csv', mimeType: 'text/csv', buffer: Buffer.from(`text\n${many}\n`) });
          await page.waitForFunction(() => document.querySelector('#batch-size')?.textContent?.startsWith('20,000'));
          await page.click('#batch-run');
          await page.waitForSelector('#batch-results:not([hidden])');
          await check(page, state('batch, running'));
          await page.click('#batch-cancel');
          await page.click('#tab-evaluation');
          await check(page, state('evaluation, empty'));
          /** @type {import('playwright-core').Route | undefined} */
          let held;
          await page.route('**/data/adversarial.jsonl', (route) => void (held = route), { times: 1 });
          const asked = page.waitForRequest('**/data/adversarial.jsonl');
          await page.click('#evaluation-run');
          await asked;
          await check(page, state('evaluation, running'));
          await page.click('#evaluation-cancel');
          await held?.continue();
          await page.waitForSelector('#evaluation-run:not([disabled])');
          await evaluate(page);
          for (const summary of await page.locator('#evaluation details summary').all()) await summary.click();
          await check(page, state('evaluation, results'));
          const inbox = await context.newPage();
          await inbox.goto(`${web.origin()}/inbox.html`);
          await inbox.locator('#inbox blockquote').first().waitFor();
          await check(inbox, state('inbox'));
          await inbox.route('**/api/escalations/*', (route) => route.abort());
          await inbox.locator('#inbox select').first().selectOption('billing');
          await inbox.click('#inbox-export');
          await inbox.locator('#inbox [role="alert"]').waitFor();
          await inbox.waitForSelector('#inbox-error:not([hidden])');
          await check(inbox, state('inbox, failures'));
          for (const [name, said, fault] of AWAY) {
            await inbox.route('**/api/escalations', fault);
            await inbox.reload();
            await waitForInbox(inbox, said);
            await check(inbox, state(`inbox that ${name}`));
            await inbox.unroute('**/api/escalations');
          }
          const gpu = await context.newPage();
          await gpu.goto(`${web.origin()}/gpu.html`);
          await check(gpu, state('benchmark'));
          await gpu.fill('#rounds', '1');
          await gpu.click('#run');
          await gpu.waitForSelector('#outcome:not([hidden])', { timeout: 120_000 });
          await gpu.click('summary');
          await check(gpu, state('benchmark, result'));
        },
        undefined,
        { keepModel: true, isPrivate: false, context: { colorScheme, viewport: { width, height: 900 } } },
      );
    });
  }
}

test('tabs follow the arrows, a reload keeps which one is open, and an address may name one', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.focus('#tab-live');
      await page.keyboard.press('ArrowRight');
      assert.equal(await page.evaluate(() => document.activeElement?.id), 'tab-batch');
      assert.ok(await page.isVisible('#batch'));
      await page.keyboard.press('End');
      assert.ok(await page.isVisible('#evaluation'));
      await page.reload();
      assert.ok(await page.isVisible('#evaluation'));
      await page.focus('#tab-evaluation');
      await page.keyboard.press('ArrowRight');
      assert.ok(await page.isVisible('#live'));
      await page.goto('about:blank');
      await page.goto(`${web.origin()}/#batch`);
      assert.ok(await page.isVisible('#batch'));
    },
    undefined,
    { keepModel: true },
  );
});
