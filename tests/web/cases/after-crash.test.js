/** A tab that died while it loaded a big model does not do so again. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { site } from '../lib/site.js';

/** @typedef {import('../lib/browser.js').BrowserContext} BrowserContext */
/** @typedef {import('../lib/browser.js').Page} Page */

const web = site();

const BIG = '/models/tiny.gguf';

/**
 * @param {Page} page
 * @param {object} [options]
 */
function load(page, options = {}) {
  return page.evaluate(
    async ({ pack, options }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(
        IntentClassifier.load({ pack, ...options }).then(async (classifier) => {
          const { stage } = await classifier.classify('my internet is down');
          const { fallback, threshold } = await classifier.info();
          classifier.dispose();
          return { stage, fallback, threshold };
        }),
      );
    },
    { pack: BIG, options },
  );
}

/** Opens a tab and kills its process while it loads. @param {BrowserContext} context */
async function dieLoading(context) {
  const page = await context.newPage();
  await page.goto(`${web.server.origin}/`);
  await page.route(`**${BIG}`, () => {});
  const asked = page.waitForRequest(`**${BIG}`);
  void load(page).catch(() => {});
  await asked;
  const crashed = page.waitForEvent('crash');
  page.goto('chrome://crash').catch(() => {});
  await crashed;
  await page.close();
}

test('after a tab died loading, compact runs and says why; retry tries again', async () => {
  await web.fresh(async ({ page, context }) => {
    await dieLoading(context);
    for (const time of ['first', 'second']) {
      const { value, message } = await load(page, { threshold: 0.1 });
      assert.equal(value?.stage, 'compact', `${time}: ${message}`);
      assert.equal(value?.fallback?.code, 'crashed');
      assert.equal(value?.fallback?.wanted, `${web.server.origin}${BIG}`);
      assert.match(value?.fallback?.message ?? '', /tab ended at .* while it loaded/);
      assert.notEqual(value?.threshold, 0.1, 'a threshold of the other model is not this one’s');
    }
    const retried = await load(page, { afterCrash: 'retry' });
    assert.deepEqual([retried.value?.fallback, retried.value?.stage === 'compact'], [undefined, false], retried.message);
    const after = await load(page);
    assert.equal(after.value?.fallback, undefined, 'it went well, so it is forgiven');
  });
});

test('a cascade keeps the model that was not the risk', async () => {
  await web.fresh(async ({ page, context }) => {
    await dieLoading(context);
    const outcome = await page.evaluate(async (pack) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ cascade: { pack }, threshold: [0.3, 0.4] });
      return classifier.info();
    }, BIG);
    assert.equal(outcome.stage, 'compact');
    assert.equal(outcome.stages, undefined);
    assert.equal(outcome.threshold, 0.3);
    assert.ok(outcome.fallback);
  });
});

test('who leaves, fails or aborts while it loads is not taken for dead', async () => {
  await web.fresh(async ({ page, context }) => {
    await page.route(`**${BIG}`, () => {});
    const asked = page.waitForRequest(`**${BIG}`);
    void load(page).catch(() => {});
    await asked;
    await page.unrouteAll();
    await page.reload();
    assert.equal((await load(page)).value?.fallback, undefined, 'reloaded');

    await page.route(`**${BIG}`, (route) => route.abort());
    // It is in the cache by now, and would be taken from there.
    assert.equal((await load(page, { cache: false })).code, 'network');
    await page.unrouteAll();
    assert.equal((await load(page)).value?.fallback, undefined, 'failed');

    const code = await page.evaluate(async (pack) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const abort = new AbortController();
      const loading = IntentClassifier.load({ pack, signal: abort.signal, onProgress: () => abort.abort() });
      return (await window.outcome(loading)).code;
    }, BIG);
    assert.equal(code, 'aborted');
    assert.equal((await load(page)).value?.fallback, undefined, 'aborted');

    // Another tab that is still loading is alive.
    const other = await context.newPage();
    await other.goto(`${web.server.origin}/`);
    await other.route(`**${BIG}`, () => {});
    const loading = other.waitForRequest(`**${BIG}`);
    void load(other, { cache: false }).catch(() => {});
    await loading;
    assert.equal((await load(page)).value?.fallback, undefined, 'in another tab');
    assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0, 'nothing is left behind');
  });
});

test('without storage there is no guard, and loading works', async () => {
  await web.fresh(
    async ({ page }) => {
      assert.equal((await load(page)).code, 'fulfilled');
    },
    { prepare: (context) => context.addInitScript(() => Object.defineProperty(globalThis, 'localStorage', { get: () => { throw new DOMException('no', 'SecurityError'); } })) },
  );
});
