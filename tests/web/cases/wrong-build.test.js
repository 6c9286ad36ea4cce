/** Builds that compute wrongly: found out by the golden messages, passed over, and named. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FILES, makeAdapters } from '../lib/adapters.js';
import { noWorkers } from '../lib/browser.js';
import { miscomputing } from '../lib/miscomputing.js';
import { site } from '../lib/site.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const web = site();

const RELAXED = ['relaxed-simd-threads', 'relaxed-simd'];
const ALL = [...RELAXED, 'simd128-threads', 'simd128'];
const TEXTS = ['my internet is down', 'why was I charged twice?', 'hello there'];

/**
 * @param {Page} page
 * @param {{ pack?: string, adapter?: string, threads?: number, asBytes?: boolean }} options
 */
function ask(page, options) {
  return page.evaluate(
    async ({ options: { asBytes, pack, ...options }, texts }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {string[]} */
      const phases = [];
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ { phase }) => {
        if (phases.at(-1) !== phase) phases.push(phase);
      };
      const source = pack !== undefined && asBytes ? await (await fetch(pack)).arrayBuffer() : pack;
      const load = IntentClassifier.load({ ...options, ...(source !== undefined && { pack: source }), onProgress });
      const outcome = await window.outcome(
        load.then(async (classifier) => {
          const answers = [];
          for (const text of texts) answers.push((await classifier.classify(text)).probabilities);
          const { backend, threads, reason } = await classifier.info();
          classifier.dispose();
          return { answers, ran: `${backend} ${threads}`, reason };
        }),
      );
      return { ...outcome, phases };
    },
    { options, texts: TEXTS },
  );
}

/** Answers of builds that are sound. @param {Parameters<typeof ask>[1]} [options] */
async function soundAnswers(options = {}) {
  /** @type {unknown} */
  let answers;
  await web.fresh(async ({ page }) => {
    const { value, message } = await ask(page, options);
    assert.ok(value, message);
    answers = value.answers;
  });
  return answers;
}

const THREADS = ['relaxed-simd-threads', 'simd128-threads'];

/** @type {[number, string[], string, string | null][]} */
const NEXT = [
  [2, ALL.slice(0, 1), 'cpu-relaxed-simd 1', 'no threads: one with relaxed SIMD is as fast as two without'],
  [2, ALL.slice(0, 2), 'cpu-simd128 2', null],
  [2, ALL.slice(0, 3), 'cpu-simd128 1', 'no threads: no build with threads is right here'],
  [3, THREADS.slice(0, 1), 'cpu-simd128 3', null],
  [3, THREADS, 'cpu-relaxed-simd 1', 'no threads: no build with threads is right here'],
];
for (const [threads, wrong, ran, noThreads] of NEXT) {
  test(`where ${wrong.join(', ')} computes wrongly, of ${threads} threads, the next build answers, and info() says why`, async () => {
    const expected = await soundAnswers();
    await web.fresh(
      async ({ page, complaints }) => {
        const { value, message, phases } = await ask(page, { threads });
        assert.ok(value, message);
        assert.equal(value.ran, ran);
        assert.deepEqual(value.answers, expected);
        for (const build of wrong) {
          const kernels = `cpu-${build.replace('-threads', '')}`;
          const why = new RegExp(`the build ${build} computes wrongly here: pack compact: ${kernels} does not answer as it must: .* allowed are 0\\.001`);
          assert.match(value.reason ?? '', why);
        }
        assert.deepEqual(/no threads: .*$/.exec(value.reason ?? '')?.[0] ?? null, noThreads);
        assert.equal((value.reason ?? '').split('computes wrongly').length - 1, wrong.length, value.reason ?? '');
        assert.deepEqual(phases, [...wrong.flatMap(() => ['wasm', 'download', 'prepare']), 'wasm', 'download', 'prepare', 'ready']);
        await noWorkers(page);
        assert.deepEqual(complaints, []);
      },
      { prepare: miscomputing(wrong) },
    );
  });
}

test('where all builds compute wrongly loading fails, and the error names them', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      const { code, message } = await ask(page, { threads: 2 });
      assert.equal(code, 'golden_mismatch', message);
      assert.match(message, /^pack compact: cpu-simd128 does not answer as it must: /);
      assert.ok(message.endsWith('; nor did the builds relaxed-simd-threads, relaxed-simd, simd128-threads'), message);
      await noWorkers(page);
      assert.deepEqual(complaints, []);
    },
    { prepare: miscomputing(ALL) },
  );
});

test('an adapter’s golden messages find it out too, also of bytes that the page holds', async () => {
  const { first } = makeAdapters(join(web.models.folder, 'adapters'), web.models.tiny);
  for (const file of FILES) web.server.files.set(`/adapter/${file}`, readFileSync(join(first, file)));
  const options = { pack: '/models/tiny.gguf', adapter: '/adapter/', threads: 1 };
  const expected = await soundAnswers(options);
  for (const asBytes of [false, true]) {
    await web.fresh(
      async ({ page, complaints }) => {
        const { value, message } = await ask(page, { ...options, asBytes });
        assert.ok(value, message);
        assert.equal(value.ran, 'cpu-simd128 1');
        assert.match(value.reason ?? '', /the build relaxed-simd computes wrongly here: adapter for tiny: cpu-relaxed-simd/);
        assert.deepEqual(value.answers, expected);
        assert.deepEqual(complaints, []);
      },
      { prepare: miscomputing(['relaxed-simd']) },
    );
  }
});

test('a model by address is not fetched again for the next build', async () => {
  const pack = '/pkg/models/compact/';
  await web.fresh(
    async ({ page }) => {
      web.server.hits.length = 0;
      const { value, message } = await ask(page, { pack, threads: 1 });
      assert.equal(value?.ran, 'cpu-simd128 1', message);
      assert.equal(web.server.hits.filter(({ path }) => path === `${pack}model.gguf`).length, 1);
    },
    { prepare: miscomputing(['relaxed-simd']) },
  );
});

test('an abort while the next build loads ends it', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      const code = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const abort = new AbortController();
        let starts = 0;
        const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ { phase, loaded }) => {
          if (phase === 'wasm' && loaded === 0) starts += 1;
          if (starts === 2 && phase === 'download') abort.abort();
        };
        return (await window.outcome(IntentClassifier.load({ signal: abort.signal, onProgress }))).code;
      });
      assert.equal(code, 'aborted');
      await noWorkers(page);
      assert.deepEqual(complaints, []);
    },
    { prepare: miscomputing(RELAXED) },
  );
});
