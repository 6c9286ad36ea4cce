/** The evaluation tab: its figures are those of the command line. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { messages } from '../lib/escalation.js';
import { evaluate } from '../lib/page.js';
import { ROOT, binary } from '../lib/paths.js';
import { suite } from '../lib/suite.js';
import { confusionOf, gateFigures, outcomeAt, reliabilityOf, riskCoverageOf } from '../../../www/evaluation/figures.js';

const web = suite();

/** Probabilities differ in their last bits between native and browser. */
const TOLERANCE = 1e-5;

/** @param {number | null} found @param {number | null} wanted @param {string} name */
function close(found, wanted, name) {
  assert.equal(found === null, wanted === null, name);
  assert.ok(Math.abs((found ?? 0) - (wanted ?? 0)) <= TOLERANCE, `${name}: ${found} instead of ${wanted}`);
}

test('the set that the page has is the project’s', () => {
  const [ours, theirs] = ['data', 'www/data'].map((folder) => readFileSync(join(ROOT, folder, 'adversarial.jsonl')));
  assert.ok(ours.equals(theirs), 'build it with `cargo xtask build-web`');
});

test('the adversarial set in the browser gives the figures that eval prints, at every threshold of its table', { timeout: 600_000 }, async () => {
  const native = JSON.parse(execFileSync(binary(), ['eval', '--model', 'compact', '--set', 'adversarial', '--sweep', '--json'], { encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] }));
  await web.withPage(
    async ({ page, requests, complaints }) => {
      const started = requests.length;
      await evaluate(page);
      assert.deepEqual(requests.slice(started).map((url) => new URL(url).pathname), ['/data/adversarial.jsonl'], 'the set is all that is asked for');
      const facts = await page.locator('#evaluation-facts dd').allTextContents();
      const percent = (/** @type {number} */ share) => `${(share * 100).toFixed(1)} %`;
      assert.deepEqual(facts, ['550', percent(native.accuracy), percent(native.macro_f1), native.ece.toFixed(3)]);
      const labels = Object.keys(native.confusion);
      const cells = await page.locator('table.confusion tbody tr').evaluateAll((rows) => rows.map((row) => Array.from(row.querySelectorAll('td'), (cell) => Number(cell.textContent))));
      assert.deepEqual(cells, labels.map((gold) => labels.map((predicted) => native.confusion[gold][predicted])));
      const slider = page.locator('#evaluation-sliders input');
      assert.equal(await slider.inputValue(), String(Number(native.threshold.toFixed(6))));
      const gate = () => page.evaluate(() => ['coverage', 'accuracy', 'unsafe'].map((name) => {
        const { value } = /** @type {HTMLElement} */ (document.getElementById(`gate-${name}`)).dataset;
        return value ? Number(value) : null;
      }));
      assert.ok(native.sweep.length > 5);
      for (const { thresholds: [threshold], coverage, selective_accuracy, unsafe_local_rate } of native.sweep) {
        await slider.fill(String(Number(threshold.toFixed(6))));
        const [found, accuracy, unsafe] = await gate();
        close(found, coverage, `coverage at ${threshold}`);
        close(accuracy, selective_accuracy, `selective accuracy at ${threshold}`);
        close(unsafe, unsafe_local_rate, `unsafe-local rate at ${threshold}`);
      }
      // By keyboard, and said aloud.
      await slider.focus();
      const before = await slider.inputValue();
      await page.keyboard.press('ArrowLeft');
      assert.notEqual(await slider.inputValue(), before);
      assert.match((await slider.getAttribute('aria-valuetext')) ?? '', /coverage .* %, selective accuracy .* %, unsafe-local rate .* %/);
      assert.equal(await page.locator('#evaluation-pictures svg[role="img"][aria-label]').count(), 2);
      assert.equal(await page.locator('#evaluation-pictures details table').count(), 2);
      for (const width of [1024, 1280, 1366, 1440, 1920]) {
        await page.setViewportSize({ width, height: 900 });
        const cut = await page.locator('table.confusion').evaluate((table) => Math.ceil(table.getBoundingClientRect().width) - /** @type {HTMLElement} */ (table.parentElement).clientWidth);
        assert.ok(cut <= 1, `${cut} pixels of the confusion matrix are cut off at a width of ${width}`);
      }
      assert.deepEqual(complaints, []);
      const close8 = native.reliability.filter((/** @type {{ n: number }} */ bin) => bin.n > 0);
      const shown = await page.locator('#evaluation-pictures details').first().locator('tbody tr').evaluateAll((rows) => rows.map((row) => Number(row.children[1].textContent)));
      assert.deepEqual(shown, close8.map((/** @type {{ n: number }} */ { n }) => n));
      const aurc = /Area under the curve (\d\.\d+)/.exec((await page.locator('svg.risk').getAttribute('aria-label')) ?? '')?.[1];
      assert.equal(aurc, native.aurc.toFixed(3));
    },
    undefined,
    { keepModel: true },
  );
});

test('a cascade’s answers at any thresholds are worked out as the engine gives them', { timeout: 600_000 }, async () => {
  const texts = [...messages(60), 'my card is 4111 1111 1111 1111', 'hello', 'x'.repeat(2_001)];
  const pairs = [[0.9, 0.3], [0.5, 0.5], [0.99, 0.2], [0, 1], [1, 0]];
  await web.withPage(async ({ page }) => {
    const differing = await page.evaluate(
      async ({ texts, pairs }) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        // @ts-expect-error: an address of the server, not of this checkout.
        const { outcomeAt, readingOf } = await import('/evaluation/figures.js');
        const classifier = await IntentClassifier.load({ cascade: { pack: '/models/tiny.gguf' } });
        const differing = [];
        for (const text of texts) {
          const reading = readingOf(text, 'billing', await classifier.classify(text, { threshold: 1 }));
          for (const threshold of pairs) {
            const { intent, decision } = await classifier.classify(text, { threshold });
            const { predicted, local } = outcomeAt(reading, threshold);
            if (predicted !== intent || local !== (decision.route === 'local')) differing.push({ text, threshold, intent, decision, predicted, local });
          }
        }
        return differing;
      },
      { texts, pairs },
    );
    assert.deepEqual(differing, []);
  });
});

/** @returns {import('../../../www/evaluation/figures.js').Reading} */
function reading(/** @type {string} */ gold, /** @type {string | null} */ intent, /** @type {number | null} */ confidence, allowed = true) {
  return { text: '', gold, stages: [{ intent, confidence, allowed, isAboutText: false }] };
}

test('what is not classified is never right, never local, and the least certain', () => {
  const readings = [reading('a', null, null, false), reading('b', 'b', 0.9), reading('b', 'b', 0.9), reading('a', 'b', 0.9), reading('a', 'a', 0.5)];
  const outcomes = readings.map((one) => outcomeAt(one, [0.6]));
  assert.deepEqual(gateFigures(outcomes, ['a']), { n: 5, local: 3, mustEscalate: 3, unsafeLocal: 1, coverage: 0.6, selectiveAccuracy: 2 / 3, unsafeLocalRate: 1 / 3, overEscalation: 0 });
  const { counts, failed, accuracy } = confusionOf(outcomes, ['a', 'b']);
  assert.deepEqual([counts, failed, accuracy], [[[1, 1], [0, 2]], [1, 0], 0.6]);
  assert.equal(reliabilityOf(outcomes).reduce((sum, { n }) => sum + n, 0), 4);
  const { curve } = riskCoverageOf(outcomes);
  assert.deepEqual(curve.map(({ coverage }) => coverage), [0.2, 0.4, 0.6, 0.8, 1]);
  // Three of the same confidence share one error evenly.
  for (const [index, risk] of [1 / 3, 1 / 3, 1 / 3, 1 / 4, 2 / 5].entries()) assert.ok(Math.abs(curve[index].risk - risk) < 1e-12);
});
