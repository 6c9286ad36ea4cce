/** Adapters beside a loaded base in Chromium: swapped, refused, aborted, under load. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { FILES, TEXTS, distance, makeAdapters, native, offer } from '../lib/adapters.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

const web = suite();

/** Native and browser: see `TOLERANCE` in real-model.test.js. */
const TOLERANCE = 1e-5;

/** @type {Record<string, string>} */
let folders = {};
/** Native answers without an adapter and with each of the sound ones. @type {Record<string, ClassifyResult[]>} */
const expected = {};

before(() => {
  const { folder, tiny } = web.models();
  folders = makeAdapters(join(folder, 'adapters'), tiny);
  expected.none = native(tiny, null, TEXTS);
  for (const name of ['first', 'second']) expected[name] = native(tiny, folders[name], TEXTS);
});

/** @param {(visit: import('../lib/browser.js').Visit) => Promise<void>} body */
const withPage = (body) => web.withPage(body, (context) => offer(context, folders));

/** @param {ClassifyResult[]} results @param {string} name */
function assertAnswers(results, name) {
  assert.equal(results.length, TEXTS.length);
  for (const [index, result] of results.entries()) {
    const off = distance(result.probabilities, expected[name][index].probabilities);
    assert.ok(off <= TOLERANCE, `${name}: ${TEXTS[index]} differs by ${off}`);
  }
}

test('adapters swap on a loaded base, and null takes them away', async () => {
  for (const name of ['first', 'second']) {
    const offs = expected.none.map((result, index) => distance(result.probabilities, expected[name][index].probabilities));
    assert.ok(Math.max(...offs) > 0.2, `${name} changes answers: ${offs}`);
  }
  await withPage(async ({ page, requests, complaints }) => {
    const states = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', threads: 1 });
      const states = [];
      for (const name of [null, 'first', 'second', 'first', null, null, ...Array.from({ length: 8 }, () => ['second', 'first', null]).flat()]) {
        await classifier.setAdapter(name === null ? null : `/adapters/${name}/`);
        const results = [];
        for (const text of texts) results.push(await classifier.classify(text));
        states.push({ name: name ?? 'none', results, info: await classifier.info() });
      }
      return states;
    }, TEXTS);
    const memory = states.map(({ info }) => info.wasmMemoryBytes);
    for (const { name, results, info } of states) {
      assertAnswers(results, name);
      assert.equal(info.threshold, { none: Math.fround(0.55), first: 0.25, second: 0.5 }[name]);
      const same = states.find((state) => state.name === name)?.results;
      assert.deepEqual(results.map((result) => result.probabilities), same?.map((result) => result.probabilities));
    }
    // The allocator's pieces settle over the first rounds.
    assert.equal(memory.at(-1), memory[memory.length >> 1], `swapping takes no more memory for ever: ${memory}`);
    assert.equal(requests.filter((url) => url.endsWith('/models/tiny.gguf')).length, 1, 'the base is fetched once');
    assert.deepEqual(complaints, []);
  });
});

test('an address without its last slash, a URL and bytes of any kind are the same adapter', async () => {
  await withPage(async ({ page }) => {
    const answers = await page.evaluate(
      async ({ text, files }) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
        const bytes = await Promise.all(files.map(async (file) => (await fetch(`/adapters/first/${file}`)).arrayBuffer()));
        const padded = bytes.map((buffer) => {
          const larger = new Uint8Array(buffer.byteLength + 9);
          larger.set(new Uint8Array(buffer), 5);
          return larger.subarray(5, 5 + buffer.byteLength);
        });
        const named = (/** @type {(Blob | ArrayBuffer | Uint8Array<ArrayBuffer>)[]} */ values) =>
          Object.fromEntries(files.map((file, index) => [file, values[index]]));
        const adapters = [
          'adapters/first',
          new URL('/adapters/first/', location.href),
          named(bytes),
          named(padded),
          named(bytes.map((buffer) => new Blob([buffer]))),
          named(bytes.map((buffer, index) => new File([buffer], files[index]))),
        ];
        const answers = [];
        for (const adapter of adapters) {
          await classifier.setAdapter(null);
          await classifier.setAdapter(adapter);
          answers.push({ ...(await classifier.classify(text)), ms: 0 });
        }
        return answers;
      },
      { text: TEXTS[0], files: FILES },
    );
    assert.equal(answers.length, 6);
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
    assert.ok(distance(answers[0].probabilities, expected.first[0].probabilities) <= TOLERANCE);
  });
});

test('what is refused has a stable code and changes nothing', async () => {
  const read = (/** @type {string} */ name) => Object.fromEntries(FILES.map((file) => [file, readFileSync(join(folders[name], file)).toString('base64')]));
  await withPage(async ({ page, complaints }) => {
    const { outcomes, before, after, forced } = await page.evaluate(
      async ({ second, text }) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
        await classifier.setAdapter('/adapters/first/');
        const before = await classifier.classify(text);
        const bytes = (/** @type {string} */ base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        const files = () => Object.fromEntries(Object.entries(second).map(([name, base64]) => [name, bytes(base64)]));
        const tensors = files()['adapter_model.safetensors'];
        const { 'intent.json': _, ...withoutIntent } = files();
        /** @type {[string, string, string | Record<string, Uint8Array<ArrayBuffer>>][]} */
        const cases = [
          ['wrong_base', 'SHA-256', '/adapters/other-base/'],
          ['golden_mismatch', 'cpu-relaxed-simd', '/adapters/untrue/'],
          ['network', '/adapters/nowhere/adapter_config.json: HTTP 404', '/adapters/nowhere/'],
          ['wrong_base', 'no intent.json', withoutIntent],
          ['wrong_base', 'force: true', '/adapters/elsewhere/'],
          ['invalid_argument', 'adapter_config.json is missing', { 'adapter_model.safetensors': tensors }],
          ['invalid_argument', 'intent.jsn is none of', { ...files(), 'intent.jsn': new Uint8Array(1) }],
          ['invalid_config', 'intent.json', { ...files(), 'intent.json': new TextEncoder().encode('{"base": 1}') }],
          ['invalid_config', 'adapter_config.json: is not UTF-8', { ...files(), 'adapter_config.json': Uint8Array.of(0xff, 0xfe) }],
          ['invalid_config', 'adapter_config.json: is larger than 1048576 bytes', { ...files(), 'adapter_config.json': new Uint8Array((1 << 20) + 1) }],
          ['invalid_config', 'adapter_model.safetensors', { ...files(), 'adapter_model.safetensors': tensors.slice(0, 100) }],
        ];
        const outcomes = [];
        for (const [code, said, adapter] of cases) {
          const { code: found, message, name } = await window.outcome(classifier.setAdapter(adapter));
          outcomes.push({ code, said, found, message, name });
        }
        const after = await classifier.classify(text);
        await classifier.setAdapter('/adapters/other-base/', { force: true });
        return { outcomes, before, after, forced: await classifier.classify(text) };
      },
      { second: read('second'), text: TEXTS[1] },
    );
    assert.equal(outcomes.length, 11);
    for (const { code, said, found, message, name } of outcomes) {
      assert.deepEqual([found, name], [code, 'IntentError'], message);
      assert.ok(message.includes(said), `${said}: ${message}`);
    }
    assert.deepEqual({ ...after, ms: 0 }, { ...before, ms: 0 });
    // The same tensors as the first's.
    assert.deepEqual(forced.probabilities, before.probabilities);
    assert.deepEqual(complaints.filter((line) => !line.includes('404')), []);
  });
});

test('an adapter from elsewhere is asked with the configuration that is given', async () => {
  const config = JSON.parse(readFileSync(join(folders.second, 'intent.json'), 'utf8')).config;
  await withPage(async ({ page }) => {
    const { results, thresholds, refused } = await page.evaluate(
      async ({ texts, config }) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
        const thresholds = [];
        await classifier.setAdapter('/adapters/elsewhere/', { force: true });
        thresholds.push((await classifier.info()).threshold);
        await classifier.setAdapter('/adapters/elsewhere/', { force: true, config });
        thresholds.push((await classifier.info()).threshold);
        const results = [];
        for (const text of texts) results.push(await classifier.classify(text));
        const refused = [
          await window.outcome(classifier.setAdapter('/adapters/first/', { config })),
          await window.outcome(classifier.setAdapter('/adapters/elsewhere/', { force: true, config: { labels: 1 } })),
        ];
        return { results, thresholds, refused };
      },
      { texts: TEXTS, config },
    );
    assertAnswers(results, 'first');
    assert.deepEqual(thresholds, [Math.fround(0.55), 0.5]);
    assert.deepEqual(refused.map(({ code }) => code), ['invalid_argument', 'invalid_config']);
    assert.ok(refused[0].message.startsWith('config: '), refused[0].message);
  });
});

test('calls are answered with the adapter of their place in the queue', async () => {
  await withPage(async ({ page }) => {
    const { results, alone } = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      /** @type {Record<string, Record<string, number> | null>} */
      const alone = {};
      const adapters = [null, '/adapters/first/', '/adapters/second/'];
      for (const adapter of adapters) {
        await classifier.setAdapter(adapter);
        for (const text of texts) alone[`${adapter} ${text}`] = (await classifier.classify(text)).probabilities;
      }
      const calls = [];
      for (let round = 0; round < 30; round += 1) {
        const adapter = adapters[(round * 7) % 3];
        calls.push(classifier.setAdapter(adapter).then(() => null));
        for (const text of texts) {
          calls.push(classifier.classify(text).then(({ probabilities }) => ({ key: `${adapter} ${text}`, probabilities })));
        }
      }
      const results = (await Promise.all(calls)).filter((result) => result !== null);
      return { results, alone };
    }, TEXTS);
    assert.equal(results.length, 30 * TEXTS.length);
    for (const { key, probabilities } of results) assert.deepEqual(probabilities, alone[key], key);
  });
});

test('an abort, queued or during the transfer, leaves the adapter that was there', async () => {
  await withPage(async ({ page, context }) => {
    /** @type {() => void} */
    let asked = () => {};
    const reached = new Promise((resolve) => (asked = () => resolve(undefined)));
    // A transfer that never ends.
    await context.route('**/slow/**', () => asked());
    await page.exposeFunction('slowIsAsked', () => reached);
    const report = await page.evaluate(async (text) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      await classifier.setAdapter('/adapters/first/');
      const before = (await classifier.classify(text)).probabilities;
      const outcomes = [];
      const during = new AbortController();
      const transfer = classifier.setAdapter('/slow/', { signal: during.signal });
      const behind = classifier.classify(text);
      const queued = new AbortController();
      const waiting = classifier.setAdapter('/adapters/second/', { signal: queued.signal });
      queued.abort();
      outcomes.push(await window.outcome(waiting));
      await /** @type {any} */ (window).slowIsAsked();
      during.abort(new Error('changed my mind'));
      const error = await transfer.catch((thrown) => thrown);
      outcomes.push({ code: error.code, cause: error.cause?.message });
      outcomes.push(await window.outcome(classifier.setAdapter(null, { signal: AbortSignal.abort() })));
      // Too late to matter.
      const late = new AbortController();
      await classifier.setAdapter('/adapters/first/', { signal: late.signal });
      late.abort();
      const after = [(await behind).probabilities, (await classifier.classify(text)).probabilities];
      return { before, after, outcomes: outcomes.map(({ code }) => code), cause: error.cause?.message };
    }, TEXTS[2]);
    assert.deepEqual(report.outcomes, ['aborted', 'aborted', 'aborted']);
    assert.equal(report.cause, 'changed my mind');
    for (const after of report.after) assert.deepEqual(after, report.before);
  });
});

test('progress counts the files’ bytes', async () => {
  const bytes = FILES.reduce((sum, file) => sum + readFileSync(join(folders.first, file)).length, 0);
  await withPage(async ({ page }) => {
    const events = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const events = [];
      await classifier.setAdapter('/adapters/first/', { onProgress: (progress) => events.push(progress) });
      return events;
    });
    assert.deepEqual([...new Set(events.map((event) => event.phase))], ['download', 'prepare', 'ready']);
    const downloads = events.filter((event) => event.phase === 'download');
    assert.deepEqual([downloads[0].loaded, downloads.at(-1)], [0, { phase: 'download', loaded: bytes, total: bytes, cache: { state: 'writing', bytes: 0 } }]);
  });
});

test('a model is loaded with its adapter at once', async () => {
  const bytes = FILES.reduce((sum, file) => sum + readFileSync(join(folders.first, file)).length, 0);
  await withPage(async ({ page }) => {
    const { results, events, refused } = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const pack = '/models/tiny.gguf';
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const events = [];
      const classifier = await IntentClassifier.load({ pack, adapter: '/adapters/first/', onProgress: (progress) => events.push(progress) });
      const results = [];
      for (const text of texts) results.push(await classifier.classify(text));
      const refused = [];
      for (const options of [
        { pack, adapter: '/adapters/other-base/' },
        { pack, adapter: '/adapters/untrue/' },
        { adapter: '/adapters/first/' },
        { pack, adapter: '/adapters/first/', config: {} },
      ]) refused.push((await window.outcome(IntentClassifier.load(options))).code);
      const compact = await IntentClassifier.load();
      refused.push((await window.outcome(compact.setAdapter('/adapters/first/'))).code);
      return { results, events, refused };
    }, TEXTS);
    assertAnswers(results, 'first');
    const downloads = events.filter((event) => event.phase === 'download');
    assert.equal(downloads.at(-1)?.loaded, web.models().tinyBytes + bytes);
    for (const [index, event] of downloads.entries()) assert.ok(event.loaded >= (downloads[index - 1]?.loaded ?? 0));
    assert.deepEqual(refused, ['wrong_base', 'golden_mismatch', 'unavailable', 'invalid_argument', 'unavailable']);
  });
});

test('bad arguments are named', async () => {
  await withPage(async ({ page }) => {
    const outcomes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      const set = /** @type {(adapter?: unknown, options?: unknown) => Promise<unknown>} */ (classifier.setAdapter.bind(classifier));
      /** @type {[string, unknown[]][]} */
      const cases = [
        ['adapter', []],
        ['adapter', [7]],
        ['adapter', [[]]],
        ['adapter', ['http://']],
        ['adapter: intent.json', [{ 'intent.json': 'text' }]],
        ['force', [null, { force: 1 }]],
        ['signal', [null, { signal: 1 }]],
        ['onProgress', [null, { onProgress: 1 }]],
        ['threshold', [null, { threshold: 1 }]],
      ];
      const outcomes = [];
      for (const [name, args] of cases) outcomes.push({ name, outcome: await window.outcome(set(...args)) });
      classifier.dispose();
      outcomes.push({ name: 'the classifier was disposed', outcome: await window.outcome(set(null)) });
      return outcomes;
    });
    assert.equal(outcomes.length, 10);
    for (const [index, { name, outcome }] of outcomes.entries()) {
      assert.equal(outcome.code, index === 9 ? 'disposed' : 'invalid_argument', name);
      assert.ok(outcome.message.startsWith(name), outcome.message);
    }
  });
});
