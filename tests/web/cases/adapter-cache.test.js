/** Adapters by address in the cache: fetched once, verified, healed, listed, deleted, and there without a network. */

import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, beforeEach, test } from 'node:test';
import { FILES, TEXTS, makeAdapters } from '../lib/adapters.js';
import { damage, inWorker, lastDownload, list, states } from '../lib/cache.js';
import { site } from '../lib/site.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const web = site();

const [, CONFIG, TENSORS] = FILES;
const BASE = '/models/tiny.gguf';

/** Bytes of the adapters' files. @type {Record<string, Buffer[]>} */
const adapters = {};

before(() => {
  const { folder, tiny } = web.models;
  const folders = makeAdapters(join(folder, 'adapters'), tiny);
  for (const [name, path] of Object.entries(folders)) {
    adapters[name] = FILES.flatMap((file) => (name === 'elsewhere' && file === FILES[0] ? [] : [readFileSync(join(path, file))]));
  }
});

beforeEach(() => {
  serve('first');
  web.server.hits.length = 0;
});

/** Offers an adapter as `/adapter/`. @param {string} name */
function serve(name) {
  const { files } = web.server;
  for (const file of FILES) files.delete(`/adapter/${file}`);
  const present = adapters[name].length === FILES.length ? FILES : FILES.slice(1);
  for (const [index, file] of present.entries()) files.set(`/adapter/${file}`, adapters[name][index]);
}

/** @param {string} file */
function hits(file) {
  return web.server.hits.filter(({ path, method }) => path === `/adapter/${file}` && method === 'GET');
}

/**
 * Puts the adapter beside the base, or loads it with the base, and asks one question.
 *
 * @param {Page} page
 * @param {{ atOnce?: boolean, cache?: boolean, force?: boolean }} [options]
 */
function ask(page, { atOnce = false, cache = true, force = false } = {}) {
  return page.evaluate(
    async ({ atOnce, cache, force, pack, text }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const progress = [];
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ step) => void progress.push(step);
      const adapter = '/adapter/';
      const load = async () => {
        if (atOnce) return IntentClassifier.load({ pack, adapter, cache, onProgress });
        const classifier = await IntentClassifier.load({ pack, cache });
        await classifier.setAdapter(adapter, { force, onProgress });
        return classifier;
      };
      const outcome = await window.outcome(
        load().then(async (classifier) => {
          const { probabilities } = await classifier.classify(text);
          classifier.dispose();
          return probabilities;
        }),
      );
      return { ...outcome, progress };
    },
    { atOnce, cache, force, pack: BASE, text: TEXTS[0] },
  );
}

/** @param {Page} page */
async function keptAdapters(page) {
  return (await list(page)).filter(({ kind }) => kind === 'adapter');
}

test('an adapter is fetched once, listed, there without a network, and deleted', async () => {
  await web.fresh(async ({ page, context, complaints }) => {
    const first = await ask(page);
    assert.equal(first.code, 'fulfilled', first.message);
    assert.deepEqual(states(first.progress), ['writing']);
    const total = adapters.first[1].length + adapters.first[2].length;
    const [kept] = await keptAdapters(page);
    assert.deepEqual({ ...kept, id: kept.id.length, savedAt: 0 }, { id: 64, kind: 'adapter', url: `${web.server.origin}/adapter/`, bytes: total, totalBytes: total, complete: true, savedAt: 0 });

    for (const atOnce of [false, true]) {
      const again = await ask(page, { atOnce });
      assert.deepEqual(again.value, first.value, again.message);
      assert.ok(states(again.progress).includes('reading'));
    }
    assert.deepEqual([hits(CONFIG).length, hits(TENSORS).length], [1, 1], 'no byte is fetched again');
    assert.deepEqual(complaints, []);

    await context.route(/\/(adapter|models)\//, (route) => route.abort());
    for (const atOnce of [false, true]) {
      const offline = await ask(page, { atOnce });
      assert.deepEqual(offline.value, first.value, offline.message);
    }

    const removed = await page.evaluate(async () => (await import('/pkg/cache/index.js')).delete(new URL('/adapter/', location.href).href));
    assert.deepEqual([removed, await keptAdapters(page)], [true, []]);
    assert.equal((await ask(page)).code, 'network', 'it is gone');
  });
});

test('a damaged file is fetched again, alone', async () => {
  await web.fresh(async ({ page, context }) => {
    // The base is not kept, so that the adapter is all there is.
    await context.route(`**${BASE}`, async (route) => {
      const response = await route.fetch();
      const { etag, 'last-modified': _, ...headers } = response.headers();
      await route.fulfill({ response, headers });
    });
    const first = await ask(page, { atOnce: true });
    assert.equal(first.code, 'fulfilled', first.message);
    await damage(page, '1/0');
    web.server.hits.length = 0;
    const healed = await ask(page, { atOnce: true });
    assert.deepEqual(healed.value, first.value, healed.message);
    assert.deepEqual([hits(CONFIG).length, hits(TENSORS).length], [0, 1]);
    const loaded = healed.progress.filter(({ phase }) => phase === 'download').map((step) => step.loaded);
    assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b), 'progress does not fall');
    await ask(page, { atOnce: true });
    assert.equal(hits(TENSORS).length, 1, 'and stays healed');
  });
});

test('bytes that are not the promised ones are refused by name and not kept', async () => {
  await web.fresh(async ({ page }) => {
    const wrong = Buffer.from(adapters.first[2]);
    wrong[wrong.length >> 1] ^= 1;
    web.server.files.set(`/adapter/${TENSORS}`, wrong);
    for (const atOnce of [false, true]) {
      const refused = await ask(page, { atOnce });
      assert.equal(refused.code, 'checksum', refused.message);
      assert.ok(refused.message.includes(`/adapter/${TENSORS}`), refused.message);
      assert.deepEqual(await keptAdapters(page), []);
    }
    serve('first');
    assert.equal((await ask(page)).code, 'fulfilled');
    assert.deepEqual((await keptAdapters(page)).map(({ complete }) => complete), [true]);
  });
});

test('a length that was once announced does not outlive the visit', async () => {
  const id = createHash('sha256').update(adapters.first[0]).digest('hex');
  await web.fresh(async ({ page }) => {
    // As it is left by a visit that ended while the server had another file there.
    await page.evaluate(async (id) => {
      const record = { kind: 'adapter', id, url: new URL('/adapter/', location.href).href, files: [100, 200], complete: false, savedAt: 1 };
      const cache = await caches.open(`relayops-intent/models/1/${id}`);
      await cache.put('https://relayops-intent.invalid/record', new Response(JSON.stringify(record)));
      await cache.put('https://relayops-intent.invalid/1/0', new Response(new Uint8Array(200)));
    }, id);
    const { code, message } = await ask(page);
    assert.equal(code, 'fulfilled', message);
    const [kept] = await keptAdapters(page);
    assert.deepEqual([kept.complete, kept.totalBytes], [true, adapters.first[1].length + adapters.first[2].length]);
  });
});

test('a file that gets another length is refused, and taken when it is the promised one again', async () => {
  await web.fresh(async ({ page }) => {
    for (const wrong of [adapters.first[2].subarray(0, 1000), Buffer.concat([adapters.first[2], Buffer.alloc(1000)])]) {
      web.server.files.set(`/adapter/${TENSORS}`, wrong);
      assert.equal((await ask(page)).code, 'checksum');
    }
    serve('first');
    const { code, message } = await ask(page);
    assert.equal(code, 'fulfilled', message);
    assert.deepEqual((await keptAdapters(page)).map(({ complete }) => complete), [true]);
  });
});

test('a new version takes the place of the old one, and their files do not mix', async () => {
  await web.fresh(async ({ page }) => {
    await ask(page);
    const [old] = await keptAdapters(page);
    // Other answers are promised, and the files are the same.
    serve('other-base');
    const forced = await ask(page, { force: true });
    assert.equal(forced.code, 'fulfilled', forced.message);
    assert.deepEqual(states(forced.progress), ['writing']);
    const kept = await keptAdapters(page);
    assert.equal(kept.length, 1);
    assert.notEqual(kept[0].id, old.id);
  });
});

test('a transfer cut at any byte goes on from there', async () => {
  await web.fresh(async ({ page }) => {
    const cut = randomInt(1, adapters.first[2].length);
    web.server.cutOnce(`/adapter/${TENSORS}`, cut);
    const { code, message } = await ask(page);
    assert.equal(code, 'fulfilled', `cut at ${cut}: ${message}`);
    const ranges = hits(TENSORS).map(({ range }) => range);
    assert.equal(ranges.length, 2, String(ranges));
    const from = Number(/^bytes=(\d+)-$/.exec(ranges[1])?.[1]);
    assert.ok(from > 0 && from <= cut, `cut at ${cut}, went on from ${ranges[1]}`);
  });
});

test('an adapter that promises nothing works, and is not kept', async () => {
  await web.fresh(async ({ page }) => {
    for (const name of ['second', 'elsewhere']) {
      serve(name);
      const { code, message, progress } = await ask(page, { force: true });
      assert.equal(code, 'fulfilled', message);
      assert.equal(lastDownload(progress).loaded, adapters[name].reduce((sum, { length }) => sum + length, 0));
      assert.match(lastDownload(progress).cache?.reason ?? '', /no intent\.json with the digests/);
    }
    assert.deepEqual(await keptAdapters(page), []);
  });
});

test('cache: false neither reads nor writes, and a cache that refuses is done without', async () => {
  await web.fresh(async ({ page }) => {
    const { code, progress } = await ask(page, { cache: false });
    assert.deepEqual([code, states(progress)], ['fulfilled', []]);
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
  });
  const refusing = inWorker("CacheStorage.prototype.open = () => Promise.reject(new DOMException('not here', 'SecurityError'));");
  await web.fresh(
    async ({ page }) => {
      const { code, progress } = await ask(page);
      assert.equal(code, 'fulfilled');
      assert.deepEqual(lastDownload(progress).cache, { state: 'memory', bytes: 0, reason: 'SecurityError: not here' });
    },
    { prepare: refusing },
  );
});

test('while another tab fetches it this one waits, and an abort ends the wait', async () => {
  const id = createHash('sha256').update(adapters.first[0]).digest('hex');
  await web.fresh(async ({ page, context }) => {
    const other = await context.newPage();
    await other.goto(`${web.server.origin}/`);
    // As the package's own Worker there would.
    await other.evaluate((name) => new Promise((held) => {
      const release = new Promise((resolve) => Object.assign(window, { release: resolve }));
      void navigator.locks.request(name, () => (held(null), release));
    }), `relayops-intent/models/1/${id}`);
    await page.evaluate(async (pack) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack });
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ { cache }) => void (document.title = cache?.state ?? '');
      const [abort, patient] = [new AbortController(), new AbortController()];
      const ask = ({ signal } = abort) => window.outcome(classifier.setAdapter('/adapter/', { signal, onProgress }));
      Object.assign(window, { abort, first: ask(), second: ask(patient) });
    }, BASE);
    await page.waitForFunction(() => document.title === 'waiting');
    assert.deepEqual([hits(CONFIG), hits(TENSORS)], [[], []], 'no transfer is held up meanwhile');
    const aborted = await page.evaluate(() => (/** @type {any} */ (window).abort.abort(), /** @type {any} */ (window).first));
    assert.equal(aborted.code, 'aborted');
    await other.evaluate(() => /** @type {any} */ (window).release());
    const second = await page.evaluate(() => /** @type {any} */ (window).second);
    assert.equal(second.code, 'fulfilled', second.message);
    assert.deepEqual((await keptAdapters(page)).map(({ complete }) => complete), [true]);
  });
});
