/** The choice of models: packs and files of the server, what is kept of them, cascades, and what they run on. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { FILES, TEXTS, makeAdapters, native } from '../lib/adapters.js';
import { send } from '../lib/page.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';
import { Fetched } from '../../../www/model/fetched.js';
import { withAdapters } from '../../../www/model/offered.js';
import { bytes, percent } from '../../../www/ui/format.js';

const web = suite();

/** Of compact and the base, as the base's adapter has them. */
const THRESHOLDS = [0.75, 0.125];
/** A base and its adapter, by the page's name for them. */
const TRAINED = 'trained with its adapter';
/** Folder of that adapter. */
let adapter = '';

before(() => {
  const { folder, tiny } = web.models();
  cpSync(join(ROOT, 'models/compact'), join(folder, 'small'), { recursive: true });
  // The same weights twice: one base has an adapter, the other has not.
  cpSync(tiny, join(folder, 'trained.gguf'));
  const { first } = makeAdapters(join(folder, 'deep'), tiny);
  adapter = join(folder, 'trained-lora');
  mkdirSync(adapter);
  for (const file of FILES) cpSync(join(first, file), join(adapter, file));
  const intent = JSON.parse(readFileSync(join(first, FILES[0]), 'utf8'));
  const compact = createHash('sha256').update(readFileSync(join(ROOT, 'models/compact/pack.json'))).digest('hex');
  const config = { ...intent.config, cascade: { first: compact, thresholds: THRESHOLDS } };
  writeFileSync(join(adapter, FILES[0]), JSON.stringify({ ...intent, base: { ...intent.base, name: 'trained' }, config }));
});

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

test('a model that the browser does not delete is not said to be gone', async () => {
  await web.withPage(async ({ page }) => {
    await row(page, 'tiny.gguf').getByRole('button', { name: 'Load tiny.gguf', exact: true }).click();
    await page.waitForSelector('#model-loaded:not([hidden])');
    await page.click('#change');
    const remove = page.getByRole('button', { name: 'Delete tiny.gguf from this browser' });
    await page.evaluate(() => {
      const { prototype } = CacheStorage;
      const { delete: original } = prototype;
      prototype.delete = () => {
        prototype.delete = original;
        return Promise.reject(new DOMException('disk', 'UnknownError'));
      };
    });
    await remove.click();
    await page.waitForSelector('#model-error:not([hidden])');
    assert.equal(await page.textContent('#model-error'), 'storage: the browser refuses to delete tiny.gguf');
    assert.equal(await page.textContent('#model-status'), '');
    await remove.click();
    await page.waitForFunction(() => document.querySelector('#model-status')?.textContent === 'tiny.gguf was deleted from this browser.');
    assert.ok(await page.isHidden('#model-error'));
  });
});

/** @param {import('../lib/browser.js').Page} page @param {string} button Its name. */
async function load(page, button) {
  await page.getByRole('button', { name: button, exact: true }).click();
  await page.waitForSelector('#model-loaded:not([hidden]), #model-error:not([hidden])');
  assert.ok(await page.isVisible('#model-loaded'), (await page.textContent('#model-error')) ?? '');
}

test('with the privacy switch on, what Workers fetch of models is told of, and the count begins anew with each', async () => {
  const { folder } = web.models();
  const size = statSync(join(folder, 'small/model.gguf')).size;
  await web.withPage(
    async ({ page, requests }) => {
      const fetched = async () => Number(await page.getAttribute('#fetched', 'data-bytes'));
      const before = await fetched();
      assert.ok(before >= size, `the page’s own model has ${before} bytes`);
      assert.equal(await page.textContent('#fetched'), bytes(before));
      assert.ok(await page.isVisible('#fetched'));
      for (const round of ['downloaded', 'kept']) {
        await page.evaluate(() => fetch('/icon.svg?counted'));
        await page.waitForFunction(() => document.querySelector('#request-count')?.textContent === '1');
        const asked = requests.length;
        await page.click('#change');
        await load(page, 'Load compact');
        const more = (await fetched()) - before;
        assert.ok(requests.slice(asked).some((url) => url.endsWith('/models/small/model.gguf')) === (round === 'downloaded'));
        // The pack's other files are small.
        assert.ok(more >= size && more < size * 1.1, `${round}: ${more} bytes more`);
        assert.equal(await page.textContent('#request-count'), '0');
        assert.equal(await page.textContent('#request-words'), 'requests of this page since the model was ready.');
      }
      const own = { name: 'mine.gguf', mimeType: '', buffer: readFileSync(web.models().tiny) };
      const sofar = await fetched();
      await page.setInputFiles('#file', own);
      await page.waitForFunction(() => document.querySelector('#model-loaded:not([hidden]) #loaded-name')?.textContent === 'mine.gguf');
      assert.equal(await fetched(), sofar, 'a file of somebody’s own is not fetched');
    },
    undefined,
    { keepModel: true },
  );
});

test('fetched bytes are counted through restarts, caches and files of one’s own', () => {
  /** @type {number[]} */
  const seen = [];
  const count = new Fetched((total) => seen.push(total));
  const at = (/** @type {number} */ loaded, /** @type {number | null} */ total, /** @type {number} */ kept = 0) =>
    count.add({ phase: 'download', loaded, total, cache: { state: 'reading', bytes: kept } });
  count.begin(0);
  at(0, 100);
  at(60, 100);
  // Read ahead from the cache, and then loaded.
  at(60, 100, 40);
  at(100, 100, 40);
  assert.equal(seen.at(-1), 60);
  // The same again with another build of the engine, now from the cache.
  at(0, 100);
  at(100, 100, 100);
  assert.equal(seen.at(-1), 60);
  count.begin(100);
  count.add({ phase: 'wasm', loaded: 1, total: 1 });
  at(5, 110);
  at(110, 110);
  assert.equal(seen.at(-1), 70, 'the adapter of a file of one’s own');
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
});

/** @param {import('../lib/browser.js').Page} page @param {string} term */
const fact = (page, term) => page.locator('#loaded-facts div', { has: page.locator('dt', { hasText: term }) }).locator('dd').textContent();

/**
 * What the console shows of a message: the answer, and of a cascade what each stage said.
 *
 * @param {import('../lib/browser.js').Page} page
 * @param {string} text
 */
async function answerTo(page, text) {
  await send(page, text);
  return page.evaluate(() => ({
    json: document.querySelector('#json')?.textContent,
    stages: Array.from(document.querySelectorAll('#stages li'), (item) => item.textContent ?? ''),
  }));
}

test('a base is offered and loaded with the adapter that belongs to it, kept with it, and deleted with it', async () => {
  const [base, own] = [web.models().tiny, FILES.map((file) => statSync(join(adapter, file)).size)];
  const expected = native(base, adapter, TEXTS);
  const without = native(base, null, TEXTS);
  assert.ok(expected.some((result, index) => result.json !== without[index].json), 'the adapter changes answers');
  await web.withPage(async ({ page, context, complaints }) => {
    /** @type {string[]} */
    const fetched = [];
    context.on('request', (request) => {
      const file = /\/models\/trained(\.gguf|-lora\/adapter.*)$/.exec(request.url())?.[0];
      // How long a file is may be asked beforehand, and by its first byte whether it is still the one that is kept.
      if (file && request.method() === 'GET' && request.headers().range !== 'bytes=0-0') fetched.push(file);
    });
    const offered = row(page, TRAINED);
    await offered.waitFor();
    const total = statSync(base).size + own.reduce((sum, size) => sum + size, 0);
    const text = (await offered.textContent()) ?? '';
    assert.ok(text.includes('trained.gguf and trained-lora') && text.includes(`${bytes(total)}, not downloaded`), text);
    assert.equal(await row(page, 'trained.gguf').count(), 0, 'not without it');
    for (const round of ['downloaded', 'kept']) {
      await load(page, `Load ${TRAINED}`);
      assert.equal(await page.textContent('#loaded-name'), TRAINED);
      assert.ok(await page.isHidden('#model-note'));
      assert.equal(await fact(page, 'Threshold'), '0.25', 'the adapter’s');
      for (const [index, message] of TEXTS.entries()) assert.equal((await answerTo(page, message)).json, expected[index].json, message);
      assert.equal(fetched.length, 3, `${round}: ${fetched.join(', ')}`);
      await page.click('#change');
      await page.waitForFunction(() => document.querySelector('#offered-list')?.textContent?.includes('kept in this browser'));
    }
    assert.ok(await page.isHidden('#kept'), 'the adapter is part of the row');
    await offered.getByRole('button', { name: `Delete ${TRAINED} from this browser` }).click();
    await page.waitForFunction(() => !document.querySelector('#offered-list')?.textContent?.includes('kept in this browser'));
    assert.deepEqual(await page.evaluate(async () => (await import('/pkg/cache/index.js')).list()), []);
    assert.deepEqual(complaints, []);
  });
});

test('behind compact a base has its adapter too, and the thresholds that were chosen for both', async () => {
  const texts = ['it did it again', 'my internet is down', ...TEXTS];
  const expected = native('cascade', adapter, texts, ['--then', web.models().tiny]);
  assert.ok(expected.some(({ stages }) => stages?.length === 2), 'the second is asked');
  await web.withPage(async ({ page, complaints }) => {
    await load(page, `Load ${TRAINED} as cascade behind compact`);
    assert.equal(await page.textContent('#loaded-name'), `Compact, then ${TRAINED}`);
    assert.equal(await fact(page, 'Threshold'), THRESHOLDS.join(', then '));
    for (const [index, text] of texts.entries()) {
      const { json, stages } = await answerTo(page, text);
      assert.equal(json, expected[index].json, text);
      const wanted = expected[index].stages?.map(({ confidence }, place) => `${percent(confidence ?? NaN)}, needs ${percent(THRESHOLDS[place])}`) ?? [];
      assert.equal(stages.length, wanted.length, text);
      for (const [place, said] of stages.entries()) assert.ok(said.includes(wanted[place]), `${text}: ${said} and not ${wanted[place]}`);
    }
    assert.deepEqual(complaints, []);
  });
});

test('a base that has no adapter is offered with a word of warning, and not behind compact', async () => {
  await web.withPage(async ({ page }) => {
    const offered = row(page, 'tiny.gguf');
    await offered.waitFor();
    assert.match((await offered.textContent()) ?? '', /No adapter of this server belongs to this file.*often wrong/);
    assert.deepEqual(await offered.getByRole('button').allTextContents(), ['Load tiny.gguf']);
    await load(page, 'Load tiny.gguf');
    assert.match((await page.textContent('#model-note')) ?? '', /No adapter of this server belongs to this file/);
    await page.click('#change');
    await load(page, 'Load compact');
    assert.ok(await page.isHidden('#model-note'));
  });
});

test('the adapters that ship go beside the files that fetch brings, under names for people', () => {
  const shipped = ['0.5b', '1.5b'].map((size) => {
    const name = `qwen2.5-${size}-lora`;
    const { base } = JSON.parse(readFileSync(join(ROOT, 'models', name, FILES[0]), 'utf8'));
    return { name, base: base.name, part: { url: new URL('http://localhost/'), key: '', bytes: 1 } };
  });
  const names = (/** @type {string} */ file, adapters = shipped) => withAdapters(file, adapters).map(({ name, adapter }) => [name, adapter.name]);
  const file = 'qwen2.5-coder-0.5b-instruct-q4_k_m.gguf';
  assert.deepEqual(names(file), [['Qwen2.5 0.5B with its adapter', 'qwen2.5-0.5b-lora']]);
  assert.deepEqual(names(file.replace('0.5b', '1.5b')), [['Qwen2.5 1.5B with its adapter', 'qwen2.5-1.5b-lora']]);
  for (const other of ['qwen2.5-coder-0.5b-instruct-q8_0.gguf', 'qwen2.5-coder-0.5b.gguf', 'qwen2.5-0.5b']) assert.deepEqual(names(other), [], other);
  const mine = { ...shipped[0], name: 'mine' };
  assert.deepEqual(names(file, [...shipped, mine]).map(([name]) => name), ['Qwen2.5 0.5B with qwen2.5-0.5b-lora', 'Qwen2.5 0.5B with mine']);
});

test('a file of somebody’s own has the adapter that belongs to its name, if its bytes are those', async () => {
  const name = 'trained.gguf';
  await web.withPage(async ({ page }) => {
    await page.setInputFiles('#file', { name, mimeType: '', buffer: readFileSync(web.models().tiny) });
    await page.waitForSelector('#model-loaded:not([hidden])');
    assert.equal(await page.textContent('#loaded-name'), TRAINED);
    const [expected] = native(web.models().tiny, adapter, TEXTS.slice(0, 1));
    const answer = await answerTo(page, TEXTS[0]);
    assert.equal(answer.json, expected.json);
    const other = readFileSync(web.models().tiny);
    // In the middle of some weights.
    other[other.length - 100] ^= 1;
    await page.click('#unload');
    await page.setInputFiles('#file', { name, mimeType: '', buffer: other });
    await page.waitForSelector('#model-error:not([hidden])');
    assert.match((await page.textContent('#model-error')) ?? '', /wrong_base/);
  });
});

test('a cascade is loaded by one click, and the console shows what each of its models said', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await load(page, `Load ${TRAINED} as cascade behind compact`);
    await send(page, 'my internet is down');
    assert.equal(await page.locator('#stages li').count(), 1, 'compact is sure');
    await send(page, 'it did it again');
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
  assert.deepEqual(badgesOf(info({ backend: 'webgpu' })), [{ text: 'WebGPU', on: true }]);
  assert.equal(badgesOf(info({ backend: 'something-new' }))[0].text, 'something-new');
  assert.equal(reasonOf(info({ reason: 'no relaxed SIMD' })), 'Not faster because: no relaxed SIMD.');
  const gpu = { vendor: 'acme', architecture: 'roadrunner', description: '', software: false, losses: 0 };
  assert.equal(reasonOf(info({ backend: 'webgpu', gpu })), 'On the graphics processor (acme roadrunner).');
  assert.equal(reasonOf(info({ backend: 'webgpu', gpu, reason: 'WebGPU runs unchecked' })), 'On the graphics processor (acme roadrunner). WebGPU runs unchecked.');
  assert.equal(reasonOf(info({ backend: 'webgpu', gpu: { ...gpu, vendor: '', architecture: '', software: true } })), 'On a graphics processor in software.');
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
