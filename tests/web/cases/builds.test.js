/** Which build runs, why not a faster one, and that all of them give the same answers. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../lib/paths.js';
import { noWorkers } from '../lib/browser.js';
import { change } from '../lib/change.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('/pkg/index.js').LoadOptions} LoadOptions */

const web = suite();

/** @type {string[]} */
const MESSAGES = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));

/**
 * Loads a model in the page, asks it all messages, and tells what ran.
 *
 * @param {import('../lib/browser.js').Page} page
 * @param {{ threads?: number | 'auto', pack?: string }} options
 */
function ask(page, options) {
  return page.evaluate(
    async ({ options, messages }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load(options);
      const results = [];
      for (const message of messages) results.push(await classifier.classify(message));
      const { backend, threads, reason } = await classifier.info();
      classifier.dispose();
      const answers = results.map(({ intent, probabilities }) => ({ intent, probabilities }));
      return { backend, threads, reason, reported: results.map(({ backend, threads }) => `${backend} ${threads}`), answers };
    },
    { options, messages: MESSAGES },
  );
}

/** A browser without relaxed SIMD, as the Workers see it. @param {import('../lib/browser.js').BrowserContext} context */
async function withoutRelaxedSimd(context) {
  await change(context, '**/pkg/engine/features.js', 'return WebAssembly.validate(RELAXED_SIMD_MODULE);', 'return false;');
}

test('all four builds for the CPU give the very same answers, and say what they are', async () => {
  for (const pack of [undefined, '/models/tiny.gguf']) {
    /** @type {Awaited<ReturnType<typeof ask>>[]} */
    const all = [];
    for (const prepare of [undefined, withoutRelaxedSimd]) {
      await web.withPage(async ({ page, complaints }) => {
        for (const threads of [1, 2, 3]) all.push(await ask(page, { threads, ...(pack && { pack }) }));
        assert.deepEqual(complaints, []);
      }, prepare);
    }
    const kinds = all.map(({ backend, threads }) => `${backend} ${threads}`);
    const relaxed = [1, 2, 3].map((threads) => `cpu-relaxed-simd ${threads}`);
    assert.deepEqual(kinds, [...relaxed, ...[1, 2, 3].map((threads) => `cpu-simd128 ${threads}`)]);
    for (const [index, one] of all.entries()) {
      assert.deepEqual(new Set(one.reported), new Set([kinds[index]]));
      assert.deepEqual(one.answers, all[0].answers, kinds[index]);
    }
    assert.deepEqual(all.map(({ reason }) => reason), [
      'one thread was asked for',
      null,
      null,
      'no relaxed SIMD in this browser; one thread was asked for',
      'no relaxed SIMD in this browser',
      'no relaxed SIMD in this browser',
    ]);
  }
});

test('auto takes a thread a core', async () => {
  await web.withPage(async ({ page }) => {
    const cores = await page.evaluate(() => navigator.hardwareConcurrency);
    const { threads } = await ask(page, { threads: 'auto' });
    assert.equal(threads, Math.min(cores, 8));
  });
});

test('a page that is not isolated runs on one thread and says so', async () => {
  await web.withPage(
    async ({ page }) => {
      const { backend, threads, reason } = await ask(page, {});
      assert.deepEqual([backend, threads], ['cpu-relaxed-simd', 1]);
      assert.equal(reason, 'no threads: the page is not cross-origin isolated');
    },
    async (context) => {
      await context.route('**/*', async (route) => {
        const response = await route.fetch();
        const headers = response.headers();
        delete headers['cross-origin-opener-policy'];
        delete headers['cross-origin-embedder-policy'];
        await route.fulfill({ response, headers });
      });
    },
  );
});

test('where large shared memory is refused a smaller one is taken', async () => {
  await web.withPage(
    async ({ page }) => {
      const { threads, reason } = await ask(page, { threads: 2 });
      assert.deepEqual([threads, reason], [2, null]);
    },
    (context) =>
      change(context, '**/pkg/engine/features.js', 'return { memory: new', 'if (maximum > 16384) throw new RangeError(); return { memory: new'),
  );
});

test('where the shared memory that is granted is too little for the model, a build without threads takes its own', async () => {
  await web.withPage(
    async ({ page }) => {
      const { backend, threads, reason } = await ask(page, { threads: 2 });
      assert.deepEqual([backend, threads], ['cpu-relaxed-simd', 1]);
      assert.match(reason ?? '', /^the build relaxed-simd-threads gets too little memory here: .*; no threads: one with relaxed SIMD is as fast as two without$/);
    },
    // 8 MiB; compact takes 13.
    (context) => change(context, '**/pkg/engine/features.js', '[65_536, 32_768, 16_384, 8_192]', '[65_536, 128]', 'return { memory: new', 'if (maximum > 128) throw new RangeError(); return { memory: new'),
  );
});

test('where all shared memory is refused one thread runs', async () => {
  await web.withPage(
    async ({ page }) => {
      const { threads, reason } = await ask(page, { threads: 2 });
      assert.deepEqual([threads, reason], [1, 'no threads: the browser refused shared memory']);
    },
    (context) => change(context, '**/pkg/engine/features.js', 'return { memory: new', 'throw new RangeError(); return { memory: new'),
  );
});

test('threads that do not start are done without', async () => {
  await web.withPage(
    async ({ page }) => {
      const { threads, reason } = await ask(page, { threads: 2 });
      assert.deepEqual([threads, reason], [1, '1 of 2 threads did not start']);
    },
    (context) => change(context, '**/pkg/client/runtime.js', "new URL('../engine/thread.js'", "new URL('../engine/nowhere.js'"),
  );
});

test('a number of threads that cannot be is refused', async () => {
  await web.withPage(async ({ page }) => {
    const messages = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const wrong = /** @type {any[]} */ ([0, 1.5, 65, '2', null]);
      return Promise.all(wrong.map(async (threads) => {
        const { code, message } = await window.outcome(IntentClassifier.load({ threads }));
        return `${code}: ${message}`;
      }));
    });
    for (const message of messages) assert.match(message, /^invalid_argument: threads: expected 'auto' or a whole number/);
  });
});

test('of many classifiers that were disposed of no Worker stays', async () => {
  await web.withPage(async ({ page }) => {
    for (let count = 0; count < 30; count += 1) {
      await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', threads: 2 });
        await classifier.classify('my internet is down');
        classifier.dispose();
      });
      await noWorkers(page);
    }
  });
});

test('threads sleep between messages, and end at once when they are disposed of', async () => {
  await web.withPage(async ({ page }) => {
    await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ threads: 3 });
      for (let count = 0; count < 5; count += 1) await classifier.classify('my internet is down');
      Object.assign(window, { classifier });
    });
    const browser = page.context().browser();
    assert.ok(browser);
    const session = await browser.newBrowserCDPSession();
    const spent = async () => {
      const { processInfo } = await session.send('SystemInfo.getProcessInfo');
      return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { cpuTime }) => sum + cpuTime, 0);
    };
    // What the page itself still does dies down.
    await page.waitForTimeout(500);
    const before = await spent();
    await page.waitForTimeout(2_000);
    const share = ((await spent()) - before) / 2;
    assert.ok(share < 0.25, `idle, the page takes ${share} of a core`);
    const start = Date.now();
    await page.evaluate(() => /** @type {any} */ (window).classifier.dispose());
    await noWorkers(page);
    assert.ok(Date.now() - start < 1_000, `the Workers took ${Date.now() - start} ms to end`);
  });
});
