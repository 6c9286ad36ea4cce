/** Batches, sessions and many calls, in Chromium with the compact model. */

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { site } from '../lib/site.js';

const web = site();

/** Most bytes by which the page's heap, and that of its Workers, may grow over 20,000 messages. */
const MAX_GROWTH_BYTES = 4 * 1024 * 1024;

/**
 * @param {import('../lib/browser.js').Page} page
 * @returns {Promise<number>} Bytes of JavaScript in the page's Workers after a collection of garbage, for which the browser
 *   takes its time.
 */
function workerHeap(page) {
  return page.evaluate(async () => {
    /** @type {{ breakdown: { bytes: number, attribution: { scope: string }[] }[] }} */
    const { breakdown } = await /** @type {any} */ (performance).measureUserAgentSpecificMemory();
    const ofWorkers = breakdown.filter(({ attribution }) => attribution.some(({ scope }) => scope === 'DedicatedWorkerGlobalScope'));
    if (ofWorkers.length === 0) throw new Error('no Worker was measured');
    return ofWorkers.reduce((sum, { bytes }) => sum + bytes, 0);
  });
}

test('a batch answers in order, and one that fails does not fail the others', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const { results, single, progress } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      /** @type {import('/pkg/index.js').BatchProgress[]} */
      const progress = [];
      const onProgress = (/** @type {import('/pkg/index.js').BatchProgress} */ step) => void progress.push(step);
      const texts = ['hello there', '  ', 'why was I charged twice', 'x'.repeat(2001)];
      const results = (await classifier.classifyBatch(texts, { onProgress, threshold: 0.2 })).map((result) =>
        result.status === 'fulfilled' ? { ...result.value, ms: 0 } : { code: result.reason.code, name: result.reason.name },
      );
      const single = { ...(await classifier.classify(texts[2], { threshold: 0.2 })), ms: 0 };
      return { results, single, progress };
    });
    assert.equal('intent' in results[0] && results[0].intent, 'greeting');
    assert.deepEqual(results[1], { code: 'empty_message', name: 'IntentError' });
    assert.deepEqual(results[2], single);
    assert.equal('decision' in results[3] && results[3].decision.reason, 'too_long');
    assert.deepEqual(progress, [1, 2, 3, 4].map((done) => ({ done, total: 4 })));
    assert.deepEqual(complaints, []);
  });
});

test('messages of a batch share passes, and get the answers that they get alone', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const { pairs, groups, each } = await page.evaluate(async () => {
      /** @type {number[]} */
      const groups = [];
      const { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (/** @type {any[]} */ ...args) {
        if (args[0].type === 'batch') groups.push(args[0].params.texts.length);
        return /** @type {any} */ (postMessage).apply(this, args);
      };
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      const base = ['is it up', 'why was I charged twice', ' ', 'hi', 'my internet was down all day', 'x'.repeat(2001), 'how do I reset the box'];
      const texts = Array.from({ length: 60 }, (_, index) => base[index % base.length]);
      const settled = await classifier.classifyBatch(texts);
      const each = await classifier.classifyBatch(base, { tokenConfidence: true });
      /** @type {[PromiseSettledResult<import('/pkg/index.js').ClassifyResult>, { code: string, value?: import('/pkg/index.js').ClassifyResult }][]} */
      const pairs = [];
      for (const [index, text] of texts.entries()) pairs.push([settled[index], await window.outcome(classifier.classify(text))]);
      const codes = settled.map((one) => (one.status === 'rejected' ? one.reason.code : 'fulfilled'));
      return {
        pairs: pairs.map(([settled, single], index) => ({
          codes: [codes[index], single.code],
          answers: [settled.status === 'fulfilled' ? settled.value : undefined, single.value],
        })),
        groups,
        each: each.map((one) => (one.status === 'rejected' ? one.reason.code : one.value.token_confidence)),
      };
    });
    for (const [index, { codes, answers }] of pairs.entries()) {
      assert.equal(codes[0], codes[1], `message ${index}`);
      const [batch, single] = answers;
      assert.deepEqual([batch?.intent, batch?.decision, batch?.stage], [single?.intent, single?.decision, single?.stage]);
      assert.deepEqual(Object.keys(batch?.probabilities ?? {}), Object.keys(single?.probabilities ?? {}));
      for (const [label, probability] of Object.entries(batch?.probabilities ?? {})) {
        assert.ok(Math.abs(probability - (single?.probabilities?.[label] ?? NaN)) <= 1e-5, `${index}: ${label}`);
      }
    }
    assert.equal(pairs.filter(({ codes }) => codes[0] === 'empty_message').length, 9);
    assert.equal(groups[0], 4);
    assert.equal(groups.reduce((sum, size) => sum + size), 60, 'those with token confidence are asked one by one');
    assert.ok(groups.length < 60 / 4, `${groups}: a fast model takes more at a time`);
    assert.equal(each[2], 'empty_message');
    assert.equal(typeof each[0], 'number');
    assert.deepEqual(complaints, []);
  });
});

test('an abort between messages that were answered together ends the batch there', async () => {
  await web.fresh(async ({ page }) => {
    const { code, seen } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const abort = new AbortController();
      /** @type {number[]} */
      const seen = [];
      const onProgress = (/** @type {import('/pkg/index.js').BatchProgress} */ { done }) => {
        seen.push(done);
        if (done === 2) abort.abort();
      };
      const { code } = await window.outcome(classifier.classifyBatch(Array(4).fill('hello there'), { onProgress, signal: abort.signal }));
      return { code, seen };
    });
    assert.equal(code, 'aborted');
    assert.deepEqual(seen, [1, 2]);
  });
});

test('a single call does not wait for a batch', async () => {
  await web.fresh(async ({ page }) => {
    const { done, total } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      let done = 0;
      const batch = classifier.classifyBatch(Array(200).fill('is my router online?'), { onProgress: (step) => void (done = step.done) });
      await classifier.classify('hello there');
      const then = done;
      return { done: then, total: (await batch).length };
    });
    assert.ok(done <= 4, `${done} of the batch came first`);
    assert.equal(total, 200);
  });
});

test('a batch ends when it is aborted, and when the classifier is disposed', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const outcomes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const texts = Array(50).fill('is my router online?');
      const abort = new AbortController();
      const aborted = await window.outcome(
        classifier.classifyBatch(texts, { signal: abort.signal, onProgress: ({ done }) => done === 3 && abort.abort() }),
      );
      const before = await window.outcome(classifier.classifyBatch(texts, { signal: abort.signal }));
      const wrong = await window.outcome(classifier.classifyBatch(/** @type {any} */ (['a', 7])));
      const options = await window.outcome(classifier.classifyBatch(texts, { threshold: 2 }));
      if (options.code !== 'invalid_argument') throw new Error(`wrong options: ${options.code}`);
      const empty = await classifier.classifyBatch([]);
      const disposed = await window.outcome(classifier.classifyBatch(texts, { onProgress: ({ done }) => done === 3 && classifier.dispose() }));
      return { codes: [aborted.code, before.code, wrong.code, disposed.code], wrong: wrong.message, empty };
    });
    assert.deepEqual(outcomes.codes, ['aborted', 'aborted', 'invalid_argument', 'disposed']);
    assert.match(outcomes.wrong, /^texts\[1\]: expected a string/);
    assert.deepEqual(outcomes.empty, []);
    assert.deepEqual(complaints, []);
  });
});

test('200 rapid edits: the latest wins, and ends where a single call does', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const typing = classifier.session();
      const message = 'my internet has been down since this morning, can you restart the modem please? '.repeat(3).trim();
      const edits = Array.from({ length: 200 }, (_, index) => message.slice(0, index + 1));
      const calls = edits.map((text) => window.outcome(typing.update(text)));
      const outcomes = await Promise.all(calls);
      const submitted = await typing.submit();
      const single = await classifier.classify(edits[199]);
      const last = /** @type {import('/pkg/index.js').ProvisionalResult} */ (outcomes[199].value);
      const { provisional, ...result } = last;
      return {
        codes: outcomes.map(({ code }) => code),
        provisional,
        results: [result, submitted, single].map((one) => ({ ...one, ms: 0 })),
      };
    });
    assert.deepEqual(outcome.codes.slice(0, 199), Array(199).fill('superseded'));
    assert.equal(outcome.codes[199], 'fulfilled');
    assert.equal(outcome.provisional, true);
    assert.deepEqual(outcome.results[0], outcome.results[2]);
    assert.deepEqual(outcome.results[1], outcome.results[2]);
    assert.deepEqual(complaints, []);
  });
});

test('200 edits at any time while answers are under way: what is answered is right, in order, and the last is', { timeout: 120_000 }, async () => {
  const seed = randomInt(1, 2 ** 31 - 1);
  await web.fresh(async ({ page, complaints }) => {
    const { calls, order, alone } = await page.evaluate(async (seed) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const typing = classifier.session();
      let state = seed;
      // Lehmer's generator.
      const below = (/** @type {number} */ bound) => (state = (state * 48_271) % 2_147_483_647) % bound;
      const words = 'my internet is down why was I charged twice hello there can you restart the modem please'.split(' ');
      /** @type {{ text: string, code: string, probabilities: Record<string, number> | null }[]} */
      const calls = [];
      /** @type {number[]} */
      const order = [];
      let text = 'my';
      let pending = Promise.resolve();
      for (let index = 0; index < 200; index += 1) {
        // Words are added, letters taken away, and now and then all of it is replaced.
        const kind = below(10);
        text = kind === 0 ? words[below(words.length)] : kind < 4 ? text.slice(0, -1 - below(3)) || 'I' : `${text} ${words[below(words.length)]}`;
        const edit = text;
        pending = window.outcome(typing.update(edit)).then(({ code, value }) => {
          calls[index] = { text: edit, code, probabilities: value?.probabilities ?? null };
          if (code === 'fulfilled') order.push(index);
        });
        // At once, some milliseconds later, or when the answer has come.
        const wait = below(8);
        if (wait === 0) await pending;
        else if (wait < 6) await new Promise((resolve) => setTimeout(resolve, below(20)));
      }
      await pending;
      typing.close();
      /** @type {Record<number, Record<string, number> | null>} */
      const alone = {};
      for (const index of order) alone[index] = (await classifier.classify(calls[index].text)).probabilities;
      return { calls, order, alone };
    }, seed);
    const codes = calls.map(({ code }) => code);
    assert.equal(codes.length, 200);
    assert.deepEqual([...new Set(codes)].toSorted(), ['fulfilled', 'superseded'], `seed ${seed}`);
    assert.equal(codes[199], 'fulfilled', `seed ${seed}`);
    assert.deepEqual(order, order.toSorted((a, b) => a - b), `seed ${seed}: in order`);
    for (const index of order) assert.deepEqual(calls[index].probabilities, alone[index], `seed ${seed}: ${calls[index].text}`);
    assert.deepEqual(complaints, []);
  });
});

test('edits at the pace of typing are answered, and two sessions leave each other alone', async () => {
  await web.fresh(async ({ page }) => {
    const { codes, mixed } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const [one, two] = [classifier.session(), classifier.session()];
      const codes = [];
      for (const text of ['my', 'my internet', 'my internet is', 'my internet is down']) codes.push((await window.outcome(one.update(text))).code);
      const mixed = await Promise.all([one.update('hello there'), two.update('why was I charged twice')]);
      return { codes, mixed: mixed.map(({ intent }) => intent) };
    });
    assert.deepEqual(codes, Array(4).fill('fulfilled'));
    assert.deepEqual(mixed, ['greeting', 'billing']);
  });
});

for (const options of [{}, { tokenConfidence: true }]) test(`a large model holds what is typed, and says of it what a single call does: ${JSON.stringify(options)}`, async () => {
  await web.fresh(async ({ page, complaints }) => {
    const outcome = await page.evaluate(async (options) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      const typing = classifier.session(options);
      const texts = ['my inter', 'my internet is', 'my internet was', 'my old internet was down all day', 'my internet was down'];
      const rapid = await Promise.all(texts.map((text) => window.outcome(typing.update(text))));
      /** @type {import('/pkg/index.js').ClassifyResult[]} */
      const pairs = [];
      for (const text of texts) {
        const { provisional, ...typed } = await typing.update(text);
        pairs.push(typed, await classifier.classify(text, options));
      }
      await typing.update(texts[3]);
      pairs.push(await typing.submit(), await classifier.classify(texts[3], options));
      // A call in between forgets what was held, and nothing else.
      const waiting = typing.update(texts[0]);
      const between = await classifier.classify(texts[1], options);
      const { provisional, ...typed } = await waiting;
      pairs.push(between, await classifier.classify(texts[1], options), typed, await classifier.classify(texts[0], options));
      return { codes: rapid.map(({ code }) => code), pairs };
    }, options);
    assert.deepEqual(outcome.codes, ['superseded', 'superseded', 'superseded', 'superseded', 'fulfilled']);
    for (let index = 0; index < outcome.pairs.length; index += 2) {
      const [typed, single] = [outcome.pairs[index], outcome.pairs[index + 1]];
      assert.deepEqual([typed.intent, typed.decision, typed.stage], [single.intent, single.decision, single.stage]);
      assert.equal(typeof typed.token_confidence, options.tokenConfidence ? 'number' : 'undefined');
      assert.ok(Math.abs((typed.token_confidence ?? 0) - (single.token_confidence ?? 0)) <= 1e-5, `${index}: ${typed.token_confidence}, ${single.token_confidence}`);
      for (const [label, probability] of Object.entries(typed.probabilities ?? {})) {
        assert.ok(Math.abs(probability - (single.probabilities?.[label] ?? 0)) <= 1e-5, `${index}: ${label}`);
      }
    }
    assert.deepEqual(complaints, []);
  });
});

test('a session closes, refuses what is not text, and goes with its classifier', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const codes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const typing = classifier.session();
      const wrong = await window.outcome(typing.update(/** @type {any} */ (null)));
      const empty = await window.outcome(typing.update('  '));
      const pending = window.outcome(typing.update('hello there'));
      typing.close();
      const later = await window.outcome(typing.update('hello there'));
      const other = classifier.session();
      const cut = window.outcome(other.submit('hello there'));
      classifier.dispose();
      return [wrong, empty, await pending, later, await cut].map(({ code }) => code);
    });
    assert.deepEqual(codes, ['invalid_argument', 'empty_message', 'disposed', 'disposed', 'disposed']);
    assert.deepEqual(complaints, []);
  });
});

test('a message that was sent is answered, whatever is typed or sent after it', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const outcomes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const typing = classifier.session();
      const calls = [
        typing.update('why was I char'),
        typing.submit('why was I charged twice'),
        typing.submit('hello there'),
        typing.update('m'),
        typing.update('my internet is down'),
        typing.submit('thanks, bye'),
      ];
      const outcomes = await Promise.all(calls.map((call) => window.outcome(/** @type {Promise<import('/pkg/index.js').ClassifyResult>} */ (call))));
      const closing = window.outcome(typing.submit('hello there'));
      typing.close();
      return [...outcomes, await closing].map(({ code, value }) => [code, value?.json ?? null]);
    });
    const [billing, greeting, ...others] = outcomes.filter(([code]) => code === 'fulfilled').map(([, json]) => json);
    assert.deepEqual(outcomes.map(([code]) => code), ['superseded', 'fulfilled', 'fulfilled', 'superseded', 'superseded', 'fulfilled', 'disposed']);
    assert.deepEqual([billing, greeting, others.length], ['{"intent": "billing"}', '{"intent": "greeting"}', 1]);
    assert.deepEqual(complaints, []);
  });
});

test('what was typed is forgotten when it is sent and when the session closes', async () => {
  await web.fresh(async ({ page, complaints }) => {
    const types = await page.evaluate(async () => {
      /** @type {string[]} */
      const types = [];
      const { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (/** @type {any[]} */ ...args) {
        types.push(args[0].type);
        return /** @type {any} */ (postMessage).apply(this, args);
      };
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      types.length = 0;
      const typing = classifier.session();
      await typing.submit('my internet is down');
      await typing.submit('  ').catch(() => {});
      typing.close();
      typing.close();
      await classifier.info();
      return types;
    });
    assert.deepEqual(types, ['classify', 'forget', 'classify', 'forget', 'forget', 'info']);
    assert.deepEqual(complaints, []);
  });
});

test('info can be aborted', async () => {
  await web.fresh(async ({ page }) => {
    const code = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      return (await window.outcome(classifier.info({ signal: AbortSignal.abort() }))).code;
    });
    assert.equal(code, 'aborted');
  });
});

test('20,000 messages in one page: flat memory, and the same answer to the same message', { timeout: 900_000 }, async () => {
  await web.fresh(async ({ page, context }) => {
    const session = await context.newCDPSession(page);
    const heap = async () => {
      await session.send('HeapProfiler.collectGarbage');
      return (await session.send('Runtime.getHeapUsage')).usedSize;
    };
    await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      // The smallest model: what could grow is around the arithmetic, not in it.
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
      const texts = ['my internet is down', 'is it up', 'hi', 'why was I charged twice', 'how do I reset the box'];
      const expected = await Promise.all(texts.map(async (text) => JSON.stringify({ ...(await classifier.classify(text)), ms: 0 })));
      Object.assign(window, {
        run: async (/** @type {number} */ count) => {
          let different = 0;
          for (let index = 0; index < count; index += 1) {
            const at = index % texts.length;
            const result = JSON.stringify({ ...(await classifier.classify(texts[at])), ms: 0 });
            if (result !== expected[at]) different += 1;
          }
          return { different, memory: (await classifier.info()).wasmMemoryBytes };
        },
      });
    });
    const run = (/** @type {number} */ count) =>
      page.evaluate((count) => /** @type {any} */ (window).run(count), count);
    const first = await run(500);
    const [heapBefore, workersBefore] = [await heap(), await workerHeap(page)];
    const second = await run(19_500);
    const [heapAfter, workersAfter] = [await heap(), await workerHeap(page)];
    assert.deepEqual([first.different, second.different], [0, 0]);
    assert.equal(second.memory, first.memory, 'WebAssembly memory does not grow at all');
    assert.ok(heapAfter - heapBefore <= MAX_GROWTH_BYTES, `the page's heap grew from ${heapBefore} to ${heapAfter} bytes`);
    assert.ok(workersAfter - workersBefore <= MAX_GROWTH_BYTES, `the Workers' heap grew from ${workersBefore} to ${workersAfter} bytes`);
    console.log(`MEASURED 20,000 messages: wasm memory ${first.memory} to ${second.memory} bytes, page heap ${heapBefore} to ${heapAfter} bytes, Workers' heap ${workersBefore} to ${workersAfter} bytes`);
  });
});
