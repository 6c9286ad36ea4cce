/** GPUs that fail while they are in use: what is under way is answered, and nothing is built on what a device dropped. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before } from 'node:test';
import { TEXTS, distance, makeAdapters, native, offer } from '../lib/adapters.js';
import { gpuTest as test } from '../lib/gpu-test.js';
import { miscomputing } from '../lib/miscomputing.js';
import { suite } from '../lib/suite.js';
import { DROP, FAIL, LOSE, LOSE_AGAIN, LOSE_LATER, REFUSE, TOLERANCE, ask, makePack, servePack, withFaults } from '../lib/webgpu.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').ModelInfo} ModelInfo */

const web = suite({ gpu: true });

before(() => makePack(web.models()));

const TINY = { pack: '/models/tiny.gguf', backend: /** @type {const} */ ('webgpu') };
const DOWN = 'my internet is down';

/**
 * What the CPU says of the same.
 *
 * @param {import('../lib/webgpu.js').Page} page
 * @param {(ClassifyResult | null | undefined)[]} results
 * @param {string[]} texts
 */
async function assertAsOnTheCpu(page, results, texts) {
  const wanted = (await ask(page, { ...TINY, backend: 'cpu' }, texts)).results;
  for (const [index, text] of texts.entries()) {
    const off = distance(results[index]?.probabilities ?? null, wanted[index].probabilities);
    assert.ok(off <= TOLERANCE, `${text}: off by ${off}: ${JSON.stringify(results[index])}`);
  }
}

test('a lost device is found again once, then the CPU takes over; no message is lost', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const texts = [LOSE, DOWN, LOSE_AGAIN, DOWN];
    const { results, infos } = await ask(page, TINY, texts);
    await assertAsOnTheCpu(page, results, texts);
    assert.deepEqual(results.slice(0, 2).map(({ backend }) => backend), ['webgpu', 'webgpu'], infos[0].reason ?? '');
    assert.deepEqual(infos.slice(0, 2).map(({ gpu }) => gpu?.losses), [1, 1]);
    for (const { backend } of results.slice(2)) assert.match(backend, /^cpu-/);
    assert.match(infos[3].reason ?? '', /^no WebGPU: the GPU was lost twice: .*destroyed/);
    const { info } = await ask(page, { ...TINY, backend: 'cpu' }, []);
    assert.ok(infos[3].wasmMemoryBytes >= infos[1].wasmMemoryBytes + info.wasmMemoryBytes, 'what the lost one leaves behind counts');
    assert.deepEqual(complaints, []);
  }, (context) => withFaults(context));
});

const DROPPED = [
  ['a buffer that a device refuses', REFUSE],
  ['commands that a device drops without a word', DROP],
  ['an error of the driver', FAIL],
];
for (const [name, text] of DROPPED) {
  test(`${name} counts as its loss: nothing is built on it`, async () => {
    await web.withPage(async ({ page }) => {
      const { results, infos } = await ask(page, TINY, [DOWN, text, DOWN]);
      assert.deepEqual(infos.map(({ gpu }) => gpu?.losses), [0, 1, 1], JSON.stringify(results[1]));
      await assertAsOnTheCpu(page, results, [DOWN, text, DOWN]);
    }, (context) => withFaults(context));
  });

  test(`${name}, while a message is typed, leaves no trace in later answers`, async () => {
    await web.withPage(async ({ page }) => {
      // What is held of the first text is what the device never computed.
      const texts = [text, `${text} and again`];
      const { results, info } = await page.evaluate(async (texts) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', backend: 'webgpu' });
        const session = classifier.session();
        const results = [];
        for (const text of texts) results.push(await session.update(text));
        const info = await classifier.info();
        classifier.dispose();
        return { results, info };
      }, texts);
      assert.equal(info.gpu?.losses, 1);
      await assertAsOnTheCpu(page, results, texts);
    }, (context) => withFaults(context));
  });
}

test('a message that is too much for the model is no loss', async () => {
  await web.withPage(async ({ page }) => {
    const { results, infos } = await ask(page, { backend: 'webgpu' }, ['#$%&*@!?'.repeat(200), DOWN]);
    assert.deepEqual(results[0].decision, { route: 'escalate', reason: 'error:inference' });
    assert.deepEqual(infos.map(({ gpu }) => gpu?.losses), [0, 0]);
    assert.notEqual(results[1].confidence, null);
  }, (context) => withFaults(context));
});

test('a device that is lost while a message is typed, in a batch, or between the stages of a cascade', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const { typed, batch, cascade, infos } = await page.evaluate(
      async ([lose, again, later]) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        /** @type {import('/pkg/index.js').ModelInfo[]} */
        const infos = [];
        const open = (/** @type {import('/pkg/index.js').LoadOptions} */ options) => IntentClassifier.load({ backend: 'webgpu', ...options });
        const end = async (/** @type {import('/pkg/index.js').IntentClassifier} */ classifier) => {
          infos.push(await classifier.info());
          classifier.dispose();
        };
        const first = await open({ pack: '/models/tiny.gguf' });
        const session = first.session();
        const typed = [await session.update(lose), await session.update(`${lose} and`), await session.submit(`${lose} and`)];
        await end(first);
        const second = await open({ pack: '/models/tiny.gguf' });
        const batch = await second.classifyBatch(['my internet is down', lose, again, ' ', 'hello there']);
        await end(second);
        const third = await open({ cascade: { pack: '/models/tiny.gguf' } });
        const cascade = await third.classify(later, { threshold: [1, 0] });
        await end(third);
        return { typed, batch, cascade, infos };
      },
      [LOSE, LOSE_AGAIN, LOSE_LATER],
    );
    await assertAsOnTheCpu(page, typed, [LOSE, `${LOSE} and`, `${LOSE} and`]);
    assert.deepEqual(batch.map(({ status }) => status), ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    const values = batch.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    await assertAsOnTheCpu(page, values, [DOWN, LOSE, LOSE_AGAIN, 'hello there']);
    assert.deepEqual(values.slice(0, 2).map(({ backend }) => backend), ['webgpu', 'webgpu']);
    for (const { backend } of values.slice(2)) assert.match(backend, /^cpu-/);
    assert.deepEqual(cascade.stages?.map(({ backend, confidence }) => [backend, confidence !== null]), [['webgpu', true], ['webgpu', true]]);
    assert.deepEqual(infos.map(({ gpu }) => gpu?.losses), [1, undefined, 1]);
    assert.deepEqual(complaints, []);
  }, (context) => withFaults(context));
});

test('adapters swap on the GPU, prove themselves there and survive the loss of the device, also where it is found out by them', async () => {
  const { folder, tiny } = web.models();
  const folders = makeAdapters(join(folder, 'adapters'), tiny);
  const expected = { none: native(tiny, null, TEXTS), first: native(tiny, folders.first, TEXTS) };
  await web.withPage(
    async ({ page, complaints }) => {
      const { rounds, untrue, info } = await page.evaluate(
        async ({ texts }) => {
          const { IntentClassifier } = await import('/pkg/index.js');
          const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', adapter: '/adapters/first/', backend: 'webgpu' });
          /** @type {import('/pkg/index.js').ClassifyResult[][]} */
          const rounds = [];
          const ask = async () => {
            const results = [];
            for (const text of texts) results.push(await classifier.classify(text));
            rounds.push(results);
          };
          await ask();
          await classifier.setAdapter(null);
          await ask();
          // The device is lost before this one.
          await classifier.setAdapter('/adapters/first/');
          await ask();
          const untrue = await window.outcome(classifier.setAdapter('/adapters/untrue/'));
          await ask();
          const info = await classifier.info();
          classifier.dispose();
          return { rounds, untrue, info };
        },
        { texts: TEXTS },
      );
      assert.deepEqual([info.backend, info.gpu?.losses, untrue.code], ['webgpu', 1, 'golden_mismatch']);
      for (const [round, results] of rounds.entries()) {
        const wanted = round === 1 ? expected.none : expected.first;
        for (const [index, { probabilities }] of results.entries()) {
          const off = distance(probabilities, wanted[index].probabilities);
          assert.ok(off <= TOLERANCE, `round ${round}: ${TEXTS[index]}: off by ${off}`);
        }
      }
      assert.deepEqual(complaints, []);
    },
    async (context) => {
      await offer(context, folders);
      await withFaults(context, { atAdapter: true });
    },
  );
});

test('an adapter that was set is in force again after a loss, on the GPU and on the CPU', async () => {
  const { folder, tiny } = web.models();
  const folders = makeAdapters(join(folder, 'adapters'), tiny);
  const expected = native(tiny, folders.first, [LOSE, LOSE_AGAIN]);
  await web.withPage(
    async ({ page }) => {
      const { results, backend } = await page.evaluate(
        async (texts) => {
          const { IntentClassifier } = await import('/pkg/index.js');
          const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', backend: 'webgpu' });
          await classifier.setAdapter('/adapters/first/');
          const results = [];
          for (const text of texts) results.push(await classifier.classify(text));
          const { backend } = await classifier.info();
          classifier.dispose();
          return { results, backend };
        },
        [LOSE, LOSE_AGAIN],
      );
      assert.match(backend, /^cpu-/);
      for (const [index, { probabilities }] of results.entries()) assert.ok(distance(probabilities, expected[index].probabilities) <= TOLERANCE);
    },
    async (context) => {
      await offer(context, folders);
      await withFaults(context);
    },
  );
});

test('a GPU that is found again is chosen anew: none in software for auto', async () => {
  await web.withPage(
    async ({ page }) => {
      const { info, results } = await ask(page, { pack: '/tiny-pack/', backend: 'auto' }, [DOWN, LOSE]);
      assert.deepEqual([results[0].backend, info.gpu], ['webgpu', null]);
      assert.notEqual(results[1].confidence, null);
      assert.match(info.reason ?? '', /^no WebGPU: the GPU was lost \(.*\), and then: its adapter is in software/);
    },
    async (context) => {
      await servePack(context, web.models());
      // As if there had been hardware before.
      await withFaults(context, { more: ['(isFallbackAdapter ?? adapter.isFallbackAdapter) === true', '(globalThis.asked = (globalThis.asked ?? 0) + 1) > 1'] });
    },
  );
});

test('after a loss too the CPU’s builds are judged, and the next one takes over', async () => {
  await web.withPage(
    async ({ page }) => {
      const { info, results } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu', threads: 1 }, [LOSE, LOSE_AGAIN, DOWN]);
      assert.deepEqual(results.map(({ backend, confidence }) => [backend, confidence !== null]), [['webgpu', true], ['cpu-simd128', true], ['cpu-simd128', true]]);
      assert.match(info.reason ?? '', /^no WebGPU: the GPU was lost twice: .*; the build relaxed-simd computes wrongly here/);
    },
    async (context) => {
      await servePack(context, web.models());
      await withFaults(context);
      await miscomputing(['relaxed-simd'])(context);
    },
  );
});

test('a cascade whose second model was the page’s bytes goes on with the first', async () => {
  await web.withPage(async ({ page }) => {
    const { answers, info, adapter } = await page.evaluate(
      async ([lose, down]) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const pack = await (await fetch('/models/tiny.gguf')).arrayBuffer();
        const classifier = await IntentClassifier.load({ cascade: { pack }, backend: 'webgpu', threshold: [0, 1] });
        const session = classifier.session();
        const answers = [await classifier.classify(lose), await classifier.classify(down, { threshold: [1, 0] }), await session.update(down)];
        for (const outcome of await classifier.classifyBatch([down])) if (outcome.status === 'fulfilled') answers.push(outcome.value);
        const adapter = (await window.outcome(classifier.setAdapter(null))).code;
        const info = await classifier.info();
        classifier.dispose();
        return { answers, info, adapter };
      },
      [LOSE, DOWN],
    );
    assert.deepEqual(answers.map(({ stage, confidence }) => [stage, confidence !== null]), Array(4).fill(['compact', true]));
    assert.deepEqual(answers.map(({ decision }) => decision.route === 'escalate'), [false, true, false, false], 'each has the first one’s threshold');
    for (const { backend } of answers) assert.match(backend, /^cpu-/);
    assert.deepEqual([info.stage, info.stages, info.threshold, adapter], ['compact', undefined, 0, 'unavailable']);
    assert.match(info.reason ?? '', /^no WebGPU: the GPU was lost \(.*\), and the page’s bytes of the second model with it: load it again/);
  }, (context) => withFaults(context));
});

/** How a model is loaded that can't be had again, and what is said of it. @type {[string, boolean, RegExp][]} */
const GONE = [
  ['the page’s own bytes', true, /^the GPU was lost, and the page’s bytes with it: load the model again/],
  ['a model whose server is gone', false, /^the GPU was lost, and the model could not be loaded again: .*HTTP 503/],
];
for (const [name, asBytes, reason] of GONE) {
  test(`a device that is lost with ${name} has messages escalate, and is not looked for again`, async () => {
    await web.withPage(async ({ page, requests }) => {
      const { answers, info, empty, adapter } = await page.evaluate(
        async ({ asBytes, lose, lost }) => {
          const { IntentClassifier } = await import('/pkg/index.js');
          const pack = asBytes ? await (await fetch('/models/tiny.gguf')).arrayBuffer() : '/models/tiny.gguf';
          const classifier = await IntentClassifier.load({ pack, backend: 'webgpu', cache: false });
          await fetch(lost);
          const answers = [await classifier.classify(lose)];
          await fetch(lost);
          const session = classifier.session();
          answers.push(await classifier.classify('my internet is down'), await session.update('my int'), await session.submit('my internet'));
          const batch = await classifier.classifyBatch(['hello there', ' ']);
          if (batch[0].status === 'fulfilled') answers.push(batch[0].value);
          const empty = [batch[1].status, (await window.outcome(classifier.classify(' '))).code];
          const adapter = (await window.outcome(classifier.setAdapter(null))).code;
          const info = await classifier.info();
          classifier.dispose();
          return { answers, info, empty, adapter };
        },
        { asBytes, lose: LOSE, lost: '/lost' },
      );
      assert.equal(answers.length, 5);
      for (const { intent, json, decision, confidence } of answers) {
        assert.deepEqual([intent, json, confidence], ['unknown', '{"intent": "unknown"}', null]);
        assert.deepEqual(decision, { route: 'escalate', reason: 'error:device_lost' });
      }
      assert.deepEqual([empty, adapter], [['rejected', 'empty_message'], 'device_lost']);
      assert.match(info.reason ?? '', reason);
      // Nothing is asked for again after the first message.
      const asked = requests.slice(requests.findLastIndex((url) => url.endsWith('/lost')) + 1).filter((url) => /\.(gguf|wasm)$/.test(url));
      assert.deepEqual(asked, []);
    }, async (context) => {
      await withFaults(context);
      let isLost = false;
      await context.route('**/lost', async (route) => {
        isLost = true;
        await route.fulfill({ status: 204 });
      });
      await context.route('**/models/tiny.gguf', (route) => (isLost ? route.fulfill({ status: 503 }) : route.fallback()));
    });
  });
}
