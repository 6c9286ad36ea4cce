/** The choice of models: packs and files of the server, what is kept of them, cascades, and what they run on. */

import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { send } from '../lib/page.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

const web = suite();

before(() => cpSync(join(ROOT, 'models/compact'), join(web.models().folder, 'small'), { recursive: true }));

/** @param {import('../lib/browser.js').Page} page @param {string} name */
const row = (page, name) => page.locator('#offered-list li', { has: page.locator('strong', { hasText: new RegExp(`^${name}$`) }) });

test('a pack of the server is loaded, kept in this browser, read from there, and deleted', async () => {
  await web.withPage(async ({ page, requests, complaints }) => {
    const pack = row(page, 'compact');
    await pack.waitFor();
    assert.match((await pack.textContent()) ?? '', /13\.4 MB, not downloaded/);
    const weights = () => requests.filter((url) => url.endsWith('/models/small/model.gguf')).length;
    for (const round of ['downloaded', 'kept']) {
      await pack.getByRole('button', { name: 'Load compact', exact: true }).click();
      await page.waitForSelector('#model-loaded:not([hidden])');
      assert.equal(await page.textContent('#loaded-name'), 'compact');
      await send(page, `hello there, ${round}`);
      assert.equal(weights(), 1, round);
      await page.click('#change');
      await page.waitForFunction(() => document.querySelector('#offered-list')?.textContent?.includes('kept in this browser'));
    }
    assert.ok(await page.isVisible('#model-loaded'), 'looking at the choice lets go of nothing');
    assert.equal(await page.getAttribute('#change', 'aria-expanded'), 'true');
    await pack.getByRole('button', { name: 'Delete compact from this browser' }).click();
    await page.waitForFunction(() => !document.querySelector('#offered-list')?.textContent?.includes('kept in this browser'));
    assert.equal(await page.evaluate(async () => (await import('/pkg/cache/index.js')).list()).then((kept) => kept.length), 0);
    await send(page, 'the loaded model goes on');
    assert.deepEqual(complaints, []);
  });
});

test('a model that is kept and not offered can be deleted too', async () => {
  await web.withPage(async ({ page }) => {
    await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      (await IntentClassifier.load({ pack: '/pkg/models/compact/' })).dispose();
    });
    await row(page, 'tiny.gguf').getByRole('button', { name: 'Load tiny.gguf', exact: true }).click();
    await page.waitForSelector('#model-loaded:not([hidden])');
    await page.click('#change');
    const kept = page.locator('#kept-list li');
    await kept.waitFor();
    assert.match((await kept.textContent()) ?? '', /\/pkg\/models\/compact\/pack\.json.*13\.4 MB, kept in this browser/);
    await kept.getByRole('button', { name: /^Delete/ }).click();
    await page.waitForSelector('#kept', { state: 'hidden' });
  });
});

test('a cascade is loaded by one click, and the console shows what each of its models said', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await row(page, 'tiny.gguf').getByRole('button', { name: 'Load tiny.gguf as cascade behind compact' }).click();
    await page.waitForSelector('#model-loaded:not([hidden])');
    assert.equal(await page.textContent('#loaded-name'), 'Compact, then tiny.gguf');
    await send(page, 'my internet is down');
    assert.equal(await page.locator('#stages li').count(), 1, 'compact is sure');
    await send(page, 'so about that thing from before');
    assert.equal(await page.locator('#stages li').count(), 2);
    await page.click('#tab-evaluation');
    assert.ok(await page.isEnabled('#evaluation-run'));
    assert.deepEqual(complaints, []);
  });
});

test('the badges say what runs, and why nothing faster does', async () => {
  const shown = async (/** @type {import('../lib/browser.js').Page} */ page) => ({
    badges: await page.locator('#badges li').allTextContents(),
    reason: await page.textContent('#backend-reason'),
  });
  const { badgesOf, reasonOf } = await import('../../../www/model/badges.js');
  const info = (/** @type {object} */ given) => /** @type {any} */ ({ backend: 'cpu-simd128', threads: 1, reason: null, ...given });
  assert.deepEqual(badgesOf(info({})).map(({ text, on }) => [text, on]), [['SIMD', true], ['1 thread', false]]);
  assert.equal(badgesOf(info({ backend: 'webgpu' }))[0].text, 'WebGPU');
  assert.equal(badgesOf(info({ backend: 'something-new' }))[0].text, 'something-new');
  assert.equal(reasonOf(info({ reason: 'no relaxed SIMD' })), 'Not faster because: no relaxed SIMD.');
  await web.withPage(
    async ({ page }) => {
      const { backend, threads, reason } = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        return (await IntentClassifier.load()).info();
      });
      assert.deepEqual(await shown(page), { badges: badgesOf(info({ backend, threads })).map(({ text }) => text), reason: reasonOf(info({ backend, reason })) });
    },
    undefined,
    { keepModel: true },
  );
  await web.withPage(
    async ({ page }) => {
      const { badges, reason } = await shown(page);
      assert.equal(badges[1], '1 thread');
      assert.match(reason ?? '', /not cross-origin isolated/);
    },
    // As on a host that does not send the headers.
    (context) => context.route('**/*', async (route) => {
      const response = await route.fetch();
      const headers = Object.fromEntries(Object.entries(response.headers()).filter(([name]) => !name.startsWith('cross-origin-')));
      await route.fulfill({ response, headers });
    }),
    { keepModel: true },
  );
});
