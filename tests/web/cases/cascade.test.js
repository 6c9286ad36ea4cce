/** Compact, then a second model where compact is unsure, in Chromium. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { TEXTS, distance, makeAdapters, native, offer } from '../lib/adapters.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

const web = suite();

/** Native and browser: see `TOLERANCE` in real-model.test.js. */
const TOLERANCE = 1e-5;

/** What compact says of itself. @type {{ config: { threshold: number } }} */
const COMPACT = JSON.parse(readFileSync(join(ROOT, 'models/compact/pack.json'), 'utf8'));

/** @type {Record<string, string>} */
let folders = {};

before(() => {
  const { folder, tiny } = web.models();
  folders = makeAdapters(join(folder, 'adapters'), tiny);
});

/** @param {(visit: import('../lib/browser.js').Visit) => Promise<void>} body */
const withPage = (body) => web.withPage(body, (context) => offer(context, folders));

/** @param {string[]} texts @param {string[]} more */
const nativeCascade = (texts, more) => native('cascade', folders.first, texts, ['--then', web.models().tiny, ...more]);

test('the second model is asked only where compact is unsure, as natively', async () => {
  const texts = [...TEXTS, 'hmm', 'my card is 4111 1111 1111 1111', 'so about that thing from before'];
  const expected = [nativeCascade(texts, []), nativeCascade(texts, ['--threshold', '1,0'])];
  await withPage(async ({ page, complaints }) => {
    const { own, strict, compact } = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const compactAlone = await IntentClassifier.load();
      const classifier = await IntentClassifier.load({ cascade: { pack: '/models/tiny.gguf', adapter: '/adapters/first/' } });
      /** @type {Record<'own' | 'strict' | 'compact', import('/pkg/index.js').ClassifyResult[]>} */
      const { own, strict, compact } = { own: [], strict: [], compact: [] };
      for (const text of texts) {
        own.push(await classifier.classify(text));
        strict.push(await classifier.classify(text, { threshold: [1, 0] }));
        compact.push(await compactAlone.classify(text));
      }
      return { own, strict, compact };
    }, texts);
    for (const [index, results] of [own, strict].entries()) {
      for (const [place, result] of results.entries()) {
        const wanted = expected[index][place];
        assert.ok(result.stages && wanted.stages, texts[place]);
        assert.deepEqual(result.stages.map((stage) => stage.stage), wanted.stages.map((stage) => stage.stage), texts[place]);
        assert.deepEqual([result.intent, result.decision], [wanted.intent, wanted.decision], texts[place]);
        assert.ok(distance(result.probabilities, wanted.probabilities) <= TOLERANCE, texts[place]);
        for (const stage of result.stages) assert.ok(stage.ms > 0 && stage.probabilities, texts[place]);
        assert.ok(result.ms >= result.stages.reduce((sum, stage) => sum + stage.ms, 0));
        assert.equal(result.stage, result.stages.at(-1)?.stage);
        // What compact says of itself, it says in the cascade.
        assert.deepEqual(result.stages[0].probabilities, compact[place].probabilities);
        assert.equal(result.stages[0].threshold, index === 0 ? Math.fround(COMPACT.config.threshold) : 1);
      }
    }
    // Sure of itself, sure that it must escalate, and not asked about a card's number.
    const alone = own.filter((result) => result.stages?.length === 1).map((result) => result.decision.reason);
    for (const reason of ['confident', 'intent:billing', 'pattern:payment_card']) assert.ok(alone.includes(reason), `${reason}: ${alone}`);
    assert.equal(strict.filter((result) => result.stages?.length === 2).length, texts.length - 1);
    assert.deepEqual(complaints, []);
  });
});

test('both models’ bytes may come from the page, and progress counts all of them', async () => {
  const model = (/** @type {string} */ file) => statSync(join(ROOT, 'models/compact', file)).size;
  await withPage(async ({ page }) => {
    const { answers, events, info } = await page.evaluate(async (text) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const bytes = await (await fetch('/models/tiny.gguf')).arrayBuffer();
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const events = [];
      const loaded = [
        await IntentClassifier.load({ pack: bytes, cascade: { pack: new Uint8Array(bytes) }, threshold: [1, 0.5] }),
        await IntentClassifier.load({ pack: new Blob([bytes]), cascade: { pack: '/models/tiny.gguf' }, threshold: [1, 0.5] }),
      ];
      const answers = [];
      for (const classifier of loaded) answers.push(await classifier.classify(text));
      const classifier = await IntentClassifier.load({ cascade: { pack: bytes }, onProgress: (progress) => events.push(progress) });
      return { answers, events, info: await Promise.all([loaded[0].info(), classifier.info()]) };
    }, TEXTS[0]);
    assert.deepEqual(answers[0].probabilities, answers[1].probabilities);
    assert.deepEqual(answers[0].stages?.[0].probabilities, answers[0].stages?.[1].probabilities);
    assert.deepEqual([...new Set(events.map((event) => event.phase))], ['wasm', 'download', 'prepare', 'ready']);
    const downloads = events.filter((event) => event.phase === 'download');
    const total = model('model.gguf') + web.models().tinyBytes;
    assert.deepEqual([downloads[0], downloads.at(-1)], [{ phase: 'download', loaded: 0, total }, { phase: 'download', loaded: total, total }]);
    assert.deepEqual(info[0].stages?.map((stage) => stage.threshold), [1, 0.5]);
    assert.deepEqual(info[1].stages?.map((stage) => stage.architecture), ['bert', 'qwen2']);
    assert.deepEqual([info[1].architecture, info[1].threshold], ['qwen2', Math.fround(0.55)]);
  });
});

test('thresholds that an adapter has for this cascade hold while it is there', async () => {
  const own = JSON.parse(readFileSync(join(folders.first, 'intent.json'), 'utf8'));
  const compact = createHash('sha256').update(readFileSync(join(ROOT, 'models/compact/pack.json'))).digest('hex');
  const files = (/** @type {string} */ first) =>
    JSON.stringify({ ...own, config: { ...own.config, cascade: { first, thresholds: [0.75, 0.125] } } });
  await withPage(async ({ page }) => {
    const { chosen, none, other } = await page.evaluate(
      async ({ ours, theirs, text }) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const bytes = async (/** @type {string} */ name) => new Uint8Array(await (await fetch(`/adapters/first/${name}`)).arrayBuffer());
        const [config, tensors] = [await bytes('adapter_config.json'), await bytes('adapter_model.safetensors')];
        const adapter = (/** @type {string} */ intent) => ({
          'intent.json': new TextEncoder().encode(intent), 'adapter_config.json': config, 'adapter_model.safetensors': tensors,
        });
        const classifier = await IntentClassifier.load({ cascade: { pack: '/models/tiny.gguf' } });
        const seen = async () => ({
          info: (await classifier.info()).stages?.map((stage) => stage.threshold),
          one: (await classifier.classify(text)).stages?.[0].threshold,
          batch: (await classifier.classifyBatch([text, text])).map((r) => (r.status === 'fulfilled' ? r.value.stages?.[0].threshold : r.reason.code)),
        });
        await classifier.setAdapter(adapter(ours));
        const chosen = await seen();
        await classifier.setAdapter(null);
        const none = await seen();
        await classifier.setAdapter(adapter(theirs));
        return { chosen, none, other: await seen() };
      },
      { ours: files(compact), theirs: files('0'.repeat(64)), text: TEXTS[0] },
    );
    assert.deepEqual(chosen, { info: [0.75, 0.125], one: 0.75, batch: [0.75, 0.75] });
    const compactsOwn = Math.fround(JSON.parse(readFileSync(join(ROOT, 'models/compact/pack.json'), 'utf8')).config.threshold);
    assert.deepEqual(none, { info: [compactsOwn, Math.fround(0.55)], one: compactsOwn, batch: [compactsOwn, compactsOwn] });
    assert.deepEqual(other, { info: [compactsOwn, 0.25], one: compactsOwn, batch: [compactsOwn, compactsOwn] });
  });
});

test('adapters swap in the last stage', async () => {
  await withPage(async ({ page }) => {
    const answers = await page.evaluate(async (text) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const pack = '/models/tiny.gguf';
      const alone = await IntentClassifier.load({ pack });
      const cascade = await IntentClassifier.load({ cascade: { pack }, threshold: 1 });
      const answers = [];
      for (const adapter of ['/adapters/first/', null, '/adapters/second/']) {
        await Promise.all([alone.setAdapter(adapter), cascade.setAdapter(adapter)]);
        answers.push([await alone.classify(text), await cascade.classify(text)].map((result) => result.probabilities));
      }
      return answers;
    }, TEXTS[1]);
    for (const [alone, cascade] of answers) assert.deepEqual(cascade, alone);
    assert.ok(distance(answers[0][0], answers[2][0]) > TOLERANCE);
  });
});

test('a cascade that can’t be is refused', async () => {
  await withPage(async ({ page, requests }) => {
    const before = requests.length;
    const { outcomes, labels } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const load = /** @type {(options?: unknown) => Promise<unknown>} */ (IntentClassifier.load.bind(IntentClassifier));
      const pack = '/models/tiny.gguf';
      /** @type {[string, unknown][]} */
      const cases = [
        ['cascade', { cascade: 7 }],
        ['cascade.pack', { cascade: {} }],
        ['cascade.pack', { cascade: { pack: 7 } }],
        ['cascade.model', { cascade: { model: pack } }],
        ['cascade.adapter', { cascade: { pack, adapter: 7 } }],
        ['cascade.config', { cascade: { pack, config: 7 } }],
        ['cascade.config', { cascade: { pack: '/models/qwen/', config: {} } }],
        ['threshold', { cascade: { pack }, threshold: [0.5, 0.5, 0.5] }],
        ['threshold', { cascade: { pack }, threshold: [0.5, 2] }],
        ['threshold', { pack, threshold: [0.5, 0.5] }],
      ];
      const outcomes = [];
      for (const [name, options] of cases) outcomes.push({ name, outcome: await window.outcome(load(options)) });
      const config = await (await fetch('/adapters/first/intent.json')).json();
      const [label, ...others] = config.config.labels;
      const swapped = { ...config.config, labels: [...others, label] };
      return { outcomes, labels: await window.outcome(load({ cascade: { pack, config: swapped } })) };
    });
    assert.equal(outcomes.length, 10);
    for (const { name, outcome } of outcomes) {
      assert.equal(outcome.code, 'invalid_argument', name);
      assert.ok(outcome.message.startsWith(`${name}: `), outcome.message);
    }
    assert.equal(labels.code, 'invalid_config', labels.message);
    assert.match(labels.message, /^labels: /);
    assert.equal(requests.slice(before).filter((url) => url.endsWith('worker.js')).length, 1, 'only the last one starts anything');
  });
});
