/** The model cache: what is fetched, what is not, and what becomes of damage, cuts and refusals. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, beforeEach, test } from 'node:test';
import { damage, inWorker, lastDownload, list, states } from '../lib/cache.js';
import { binary } from '../lib/paths.js';
import { site } from '../lib/site.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const web = site();

const COMPACT = '/pkg/models/compact/';
const WEIGHTS = `${COMPACT}model.gguf`;
const MIB = 1024 * 1024;

before(() => {
  const { folder, tiny } = web.models;
  const origin = join(folder, 'origin.json');
  writeFileSync(origin, JSON.stringify({ base: 'tiny', sha256: '0'.repeat(64), licence: 'MIT', notices: '' }));
  for (const [name, quant] of [['pack', 'q4_k'], ['later-pack', 'q8_0']]) {
    const args = ['pack', '--base', tiny, '--out', join(folder, name), '--name', 'tiny', '--origin', origin];
    execFileSync(binary(), [...args, '--quant', `${quant},embedding=q8_0`, '--max-file-bytes', '200000'], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
});

beforeEach(() => {
  web.server.hits.length = 0;
});

/**
 * Loads in the page and asks one question.
 *
 * @param {Page} page
 * @param {string} pack
 * @param {boolean} [cache]
 */
function ask(page, pack, cache = true) {
  return page.evaluate(
    async ({ pack, cache }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const progress = [];
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ step) => void progress.push(step);
      const outcome = await window.outcome(
        IntentClassifier.load({ pack, cache, onProgress }).then(async (classifier) => {
          const { probabilities } = await classifier.classify('my internet is down');
          classifier.dispose();
          return probabilities;
        }),
      );
      return { ...outcome, progress };
    },
    { pack, cache },
  );
}

/** Requests of one path so far. @param {string} path */
function hits(path) {
  return web.server.hits.filter((hit) => hit.path === path);
}

test('a pack is fetched once, and read from the cache afterwards, also without a network', async () => {
  await web.fresh(async ({ page, context, complaints }) => {
    const first = await ask(page, COMPACT);
    assert.equal(first.code, 'fulfilled', first.message);
    assert.deepEqual(states(first.progress), ['writing']);
    assert.equal(lastDownload(first.progress).cache?.bytes, 0);
    assert.equal(hits(WEIGHTS).length, 1);

    const [kept] = await list(page);
    const total = readFileSync(join(import.meta.dirname, '../../../pkg/models/compact/model.gguf')).length;
    assert.deepEqual([kept.kind, kept.complete, kept.bytes, kept.totalBytes], ['pack', true, total, total]);
    assert.equal(kept.url, `${web.server.origin}${COMPACT}pack.json`);

    const second = await ask(page, COMPACT);
    assert.deepEqual(second.value, first.value);
    assert.deepEqual(states(second.progress), ['reading']);
    assert.deepEqual(lastDownload(second.progress).cache, { state: 'reading', bytes: total });
    assert.equal(hits(WEIGHTS).length, 1, 'no byte of the weights is fetched again');
    assert.deepEqual(complaints, []);

    await context.route(`**${COMPACT}*`, (route) => route.abort());
    const offline = await ask(page, COMPACT);
    assert.deepEqual(offline.value, first.value, offline.message);
  });
});

test('a GGUF file by address too, and a new version of it replaces the old one', async () => {
  await web.fresh(async ({ page, context }) => {
    const first = await ask(page, '/models/tiny.gguf');
    const second = await ask(page, '/models/tiny.gguf');
    assert.equal(first.code, 'fulfilled', first.message);
    assert.deepEqual(second.value, first.value);
    assert.deepEqual(states(second.progress), ['reading']);
    const sent = hits('/models/tiny.gguf').map((hit) => hit.sent);
    assert.deepEqual(sent, [web.models.tinyBytes, 1], 'the second time one byte asks for the version');

    // Another file at the same address: one number of the weights is another.
    const changed = readFileSync(web.models.tiny);
    changed[changed.length - 7] ^= 1;
    web.server.files.set('/models/tiny.gguf', changed);
    try {
      const third = await ask(page, '/models/tiny.gguf');
      assert.equal(third.code, 'fulfilled', third.message);
      assert.deepEqual(states(third.progress), ['writing']);
      const kept = await list(page);
      assert.deepEqual(kept.map(({ complete }) => complete), [true], 'the old version went when the new one was complete');
    } finally {
      web.server.files.delete('/models/tiny.gguf');
    }
    await context.route('**/models/tiny.gguf', (route) => route.abort());
    assert.equal((await ask(page, '/models/tiny.gguf')).code, 'fulfilled', 'without a network');
  });
});

test('versions of a pack at one address do not mix, and the old one goes when the new one is there', async () => {
  const later = join(web.models.folder, 'later-pack');
  await web.fresh(async ({ page, context }) => {
    const expected = await ask(page, '/models/later-pack/');
    await page.evaluate(async () => (await import('/pkg/cache/index.js')).clear());
    // Of the first version some files are there, and some never came.
    await context.route('**/models/pack/model-005.gguf-part', (route) => route.abort());
    assert.equal((await ask(page, '/models/pack/')).code, 'network');
    const [partial] = await list(page);
    assert.ok(partial.bytes > 0 && !partial.complete, JSON.stringify(partial));
    await context.unrouteAll();

    const files = readdirSync(later);
    for (const file of files) web.server.files.set(`/models/pack/${file}`, readFileSync(join(later, file)));
    try {
      const second = await ask(page, '/models/pack/');
      assert.deepEqual(second.value, expected.value, second.message);
      assert.equal(lastDownload(second.progress).cache?.bytes, 0, 'nothing of the first version was used');
      const kept = await list(page);
      assert.deepEqual(kept.map(({ complete }) => complete), [true]);
      assert.notEqual(kept[0].id, partial.id);
    } finally {
      for (const file of files) web.server.files.delete(`/models/pack/${file}`);
    }
    const first = await ask(page, '/models/pack/');
    assert.equal(first.code, 'fulfilled', first.message);
    assert.notDeepEqual(first.value, expected.value, 'the two versions answer differently');
  });
});

test('cache: false neither reads nor writes', async () => {
  await web.fresh(async ({ page }) => {
    const { progress, code } = await ask(page, COMPACT, false);
    assert.equal(code, 'fulfilled');
    assert.deepEqual([states(progress), await list(page)], [[], []]);
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
  });
});

test('a transfer cut at any byte goes on from there', async () => {
  for (const pack of [COMPACT, '/models/tiny.gguf']) {
    await web.fresh(async ({ page }) => {
      const path = pack === COMPACT ? WEIGHTS : pack;
      const total = readFileSync(path === WEIGHTS ? join(import.meta.dirname, '../../../pkg/models/compact/model.gguf') : web.models.tiny).length;
      const cut = randomInt(1, total);
      web.server.hits.length = 0;
      web.server.cutOnce(path, cut);
      const { code, message, progress } = await ask(page, pack);
      assert.equal(code, 'fulfilled', `cut at ${cut}: ${message}`);
      const ranges = hits(path).map((hit) => hit.range);
      assert.equal(ranges.length, 2, String(ranges));
      // A busy browser may have read less than has arrived, and drops the rest.
      const from = Number(/^bytes=(\d+)-$/.exec(ranges[1])?.[1]);
      assert.ok(from > 0 && from <= cut, `cut at ${cut}, went on from ${ranges[1]}`);
      assert.equal(lastDownload(progress).loaded, total, `cut at ${cut}`);
      assert.equal((await list(page))[0].complete, true);
    });
  }
});

test('what a tab had fetched before it ended is not fetched again', async () => {
  for (const pack of [COMPACT, '/models/tiny.gguf']) {
    await web.fresh(async ({ page, context }) => {
      const path = pack === COMPACT ? WEIGHTS : pack;
      const total = pack === COMPACT ? 13_432_320 : web.models.tinyBytes;
      const cut = randomInt(MIB + 1, total);
      // Only so much ever comes.
      await context.route(`**${path}`, async (route) => {
        const response = await route.fetch();
        const body = (await response.body()).subarray(0, cut);
        await route.fulfill({ status: 200, headers: { ...response.headers(), 'content-length': String(total) }, body });
      }, { times: 1 });
      await context.route(`**${path}`, (route) => (route.request().headers().range ? route.abort() : route.fallback()));
      const broken = await ask(page, pack);
      assert.equal(broken.code, 'network', broken.message);
      const [partial] = await list(page);
      assert.equal(partial.complete, false);
      assert.equal(partial.bytes, Math.floor(cut / MIB) * MIB, `cut at ${cut}`);

      await context.unrouteAll();
      web.server.hits.length = 0;
      const whole = await ask(page, pack);
      assert.equal(whole.code, 'fulfilled', whole.message);
      assert.equal(lastDownload(whole.progress).cache?.bytes, partial.bytes);
      const sent = hits(path).reduce((sum, hit) => sum + hit.sent, 0);
      const probe = pack === COMPACT ? 0 : 1;
      assert.equal(sent, total - partial.bytes + probe, `cut at ${cut}`);
      assert.equal((await list(page))[0].complete, true);
    });
  }
});

test('a damaged shard is healed alone', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const first = await ask(page, '/models/pack/');
    assert.equal(first.code, 'fulfilled', first.message);
    await damage(page, '3/0');
    await damage(page, '5/0');
    web.server.hits.length = 0;
    const healed = await ask(page, '/models/pack/');
    assert.deepEqual(healed.value, first.value, healed.message);
    const { files } = JSON.parse(readFileSync(join(web.models.folder, 'pack/pack.json'), 'utf8'));
    const fetched = web.server.hits.map((hit) => hit.path).filter((path) => path.startsWith('/models/pack/model'));
    assert.deepEqual(fetched, [3, 5].map((index) => `/models/pack/${files[index].path}`));
    const loaded = healed.progress.filter((step) => step.phase === 'download').map((step) => step.loaded);
    assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b), 'progress does not fall');

    web.server.hits.length = 0;
    await ask(page, '/models/pack/');
    assert.deepEqual(web.server.hits.filter((hit) => hit.path.startsWith('/models/pack/model')), [], 'and stays healed');
    assert.deepEqual(complaints, []);
  });
});

test('a damaged piece of a single file is healed alone', async () => {
  await web.fresh(async ({ page }) => {
    const first = await ask(page, '/models/tiny.gguf');
    await damage(page, '0/1');
    web.server.hits.length = 0;
    const healed = await ask(page, '/models/tiny.gguf');
    assert.deepEqual(healed.value, first.value, healed.message);
    assert.deepEqual(hits('/models/tiny.gguf').map((hit) => hit.range), ['bytes=0-0', `bytes=${MIB}-`]);
  });
});

test('bytes that are not the promised ones are not kept', async () => {
  await web.fresh(async ({ page, context }) => {
    await context.route(`**${WEIGHTS}`, async (route) => {
      const response = await route.fetch();
      const body = await response.body();
      body[body.length >> 1] ^= 1;
      await route.fulfill({ response, body });
    }, { times: 1 });
    const refused = await ask(page, COMPACT);
    assert.equal(refused.code, 'checksum', refused.message);
    assert.deepEqual((await list(page)).map(({ complete, bytes }) => [complete, bytes]), [[false, 0]]);
    assert.equal((await ask(page, COMPACT)).code, 'fulfilled');
  });
});

/** @type {[string, string, RegExp][]} */
const REFUSALS = [
  ['says that there is no room', 'navigator.storage.estimate = async () => ({ quota: 20_000_000, usage: 1_000_000 });', /QuotaExceededError/],
  ['runs out of room', "let left = 2; const put = Cache.prototype.put; Cache.prototype.put = function (key, value) { left -= 1; if (left < 0) return Promise.reject(new DOMException('full', 'QuotaExceededError')); return put.call(this, key, value); };", /QuotaExceededError: full/],
  ['may not be used', "CacheStorage.prototype.open = () => Promise.reject(new DOMException('not here', 'SecurityError'));", /SecurityError: not here/],
  ['is not there', 'delete globalThis.caches; delete WorkerGlobalScope.prototype.caches;', /there is no cache/],
];
for (const [what, script, reason] of REFUSALS) {
  test(`a cache that ${what} is done without`, async () => {
    await web.fresh(
      async ({ page, complaints }) => {
        for (const pack of [COMPACT, '/models/tiny.gguf']) {
          // The single file fits where the pack does not.
          if (pack !== COMPACT && what.startsWith('says')) continue;
          const { code, message, progress } = await ask(page, pack);
          assert.equal(code, 'fulfilled', message);
          const { cache } = lastDownload(progress);
          assert.equal(cache?.state, 'memory', JSON.stringify(progress));
          assert.match(cache?.reason ?? '', reason);
        }
        assert.deepEqual((await list(page)).filter(({ complete }) => complete), []);
        assert.equal((await list(page)).reduce((sum, { bytes }) => sum + bytes, 0), 0, 'nothing useless stays');
        assert.deepEqual(complaints, []);
      },
      { prepare: inWorker(script) },
    );
  });
}

test('two tabs at once fetch a model once, and both get it', async () => {
  for (const pack of [COMPACT, '/models/tiny.gguf']) {
    await web.fresh(async ({ page, context }) => {
      const other = await context.newPage();
      await other.goto(`${web.server.origin}/`);
      web.server.hits.length = 0;
      const [one, two] = await Promise.all([ask(page, pack), ask(other, pack)]);
      assert.equal(one.code, 'fulfilled', one.message);
      assert.deepEqual(two.value, one.value, two.message);
      const cached = [one, two].map(({ progress }) => lastDownload(progress).cache?.bytes);
      const total = pack === COMPACT ? 13_432_320 : web.models.tinyBytes;
      assert.deepEqual(cached.toSorted((a = 0, b = 0) => a - b), [0, total], 'one fetched, the other read');
      if (pack === COMPACT) assert.equal(hits(WEIGHTS).length, 1);
      assert.deepEqual((await list(page)).map(({ complete, bytes }) => [complete, bytes]), [[true, total]]);
    });
  }
});

test('a tab that waits for another goes on when that one dies', async () => {
  await web.fresh(async ({ page, context }) => {
    const other = await context.newPage();
    await other.goto(`${web.server.origin}/`);
    // It never ends.
    await other.route(`**${WEIGHTS}`, () => {});
    const hanging = ask(other, COMPACT).catch(() => null);
    await other.waitForRequest(`**${WEIGHTS}`);
    const states = page.evaluate(async (pack) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return new Promise((resolve) => {
        const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ step) => {
          if (step.cache?.state === 'waiting') document.title = 'waiting';
          if (step.phase === 'ready') resolve('ready');
        };
        void IntentClassifier.load({ pack, onProgress });
      });
    }, COMPACT);
    await page.waitForFunction(() => document.title === 'waiting');
    await other.close();
    await hanging;
    assert.equal(await states, 'ready');
  });
});

test('models are listed, deleted one by one, and cleared; a loaded one goes on', async () => {
  await web.fresh(async ({ page }) => {
    await ask(page, COMPACT);
    await ask(page, '/models/tiny.gguf');
    const outcome = await page.evaluate(async (pack) => {
      const cache = await import('/pkg/cache/index.js');
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack });
      const kinds = (await cache.list()).map((model) => model.kind);
      const byUrl = await cache.delete(new URL('/models/tiny.gguf', location.href).href);
      const again = await cache.delete(new URL('/models/tiny.gguf', location.href).href);
      const [left] = await cache.list();
      const byId = await cache.delete(left.id);
      const none = await cache.list();
      const { intent } = await classifier.classify('hello there');
      return { kinds: kinds.toSorted(), byUrl, again, left: left.kind, byId, none, intent };
    }, COMPACT);
    assert.deepEqual(outcome, { kinds: ['gguf', 'pack'], byUrl: true, again: false, left: 'pack', byId: true, none: [], intent: 'greeting' });
    await ask(page, COMPACT);
    await page.evaluate(async () => (await import('/pkg/cache/index.js')).clear());
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
  });
});

test('nothing of the cache is loaded for the package’s own model', async () => {
  await web.fresh(async ({ page }) => {
    await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      await classifier.classify('my internet is down');
    });
    const asked = web.server.hits.map((hit) => hit.path);
    assert.ok(asked.includes(WEIGHTS), 'it was loaded');
    assert.deepEqual(asked.filter((path) => path.startsWith('/pkg/cache/')), []);
    assert.deepEqual(await list(page), []);
  });
});
