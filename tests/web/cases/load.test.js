/** IntentClassifier.load in Chromium, with the tiny model and with broken ones. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noWorkers } from '../lib/browser.js';
import { suite } from '../lib/suite.js';

const web = suite();

/** Whether loading asks for `url`; the browser may still be fetching the page's icon. @param {string} url */
const isOfLoading = (url) => /(worker\.js|relayops_intent\.js|\.wasm|\.gguf)$/.test(url);

test('URL, File, Blob, ArrayBuffer and Uint8Array load the same model', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const results = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const bytes = await (await fetch('/models/tiny.gguf')).arrayBuffer();
      const padded = new Uint8Array(bytes.byteLength + 7);
      padded.set(new Uint8Array(bytes), 7);
      const packs = [
        'models/tiny.gguf',
        new URL('/models/tiny.gguf', location.href),
        new File([bytes], 'tiny.gguf'),
        new Blob([bytes]),
        bytes,
        padded.subarray(7),
      ];
      const answers = [];
      for (const pack of packs) {
        const classifier = await IntentClassifier.load({ pack });
        answers.push({ ...(await classifier.classify('my internet is down')), ms: 0 });
        classifier.dispose();
      }
      return { answers, stillThere: bytes.byteLength };
    });
    for (const answer of results.answers) assert.deepEqual(answer, results.answers[0]);
    assert.equal(results.answers.length, 6);
    assert.equal(results.stillThere, web.models().tinyBytes, 'the caller keeps its bytes');
    assert.deepEqual(complaints, []);
  });
});

for (const kind of /** @type {const} */ (['url', 'file', 'bytes'])) {
  test(`progress of a ${kind} never falls and ends at the total`, async () => {
    await web.withPage(async ({ page }) => {
      const events = await page.evaluate(async (kind) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const url = '/models/tiny.gguf';
        const blob = await (await fetch(url)).blob();
        const pack = kind === 'url' ? url : kind === 'file' ? new File([blob], 'tiny.gguf') : await blob.arrayBuffer();
        /** @type {import('/pkg/index.js').LoadProgress[]} */
        const events = [];
        await IntentClassifier.load({ pack, onProgress: (progress) => events.push(progress) });
        return events;
      }, kind);
      const phases = [...new Set(events.map((event) => event.phase))];
      assert.deepEqual(phases, ['wasm', 'download', 'prepare', 'ready']);
      for (const [index, event] of events.entries()) {
        const before = events[index - 1];
        if (before?.phase === event.phase) assert.ok(event.loaded >= before.loaded, JSON.stringify(events));
        if (before && before.phase !== event.phase) assert.equal(before.loaded, before.total, JSON.stringify(events));
      }
      const downloads = events.filter((event) => event.phase === 'download');
      const { cache, ...first } = downloads[0];
      assert.deepEqual(first, { phase: 'download', loaded: 0, total: web.models().tinyBytes });
      assert.equal(cache, undefined, 'nothing is said of it yet');
      assert.equal(downloads.at(-1)?.loaded, web.models().tinyBytes);
      assert.deepEqual(events.at(-1), { phase: 'ready', loaded: 1, total: 1 });
    });
  });
}

for (const phase of /** @type {const} */ (['wasm', 'download', 'prepare'])) {
  test(`abort during ${phase} rejects and leaves no Worker`, async () => {
    await web.withPage(async ({ page, complaints }) => {
      const outcome = await page.evaluate(async (phase) => {
        const { IntentClassifier, IntentError } = await import('/pkg/index.js');
        const abort = new AbortController();
        let later = 0;
        const load = IntentClassifier.load({
          pack: '/models/tiny.gguf',
          signal: abort.signal,
          onProgress: (progress) => {
            if (abort.signal.aborted) later += 1;
            else if (progress.phase === phase) abort.abort(new Error('changed my mind'));
          },
        });
        const error = await load.catch((thrown) => thrown);
        const typed = error instanceof IntentError && error instanceof Error;
        return { code: error.code, cause: error.cause?.message, typed, later };
      }, phase);
      assert.deepEqual(outcome, { code: 'aborted', cause: 'changed my mind', typed: true, later: 0 });
      await noWorkers(page);
      assert.deepEqual(complaints, []);
    });
  });
}

test('an aborted signal starts nothing', async () => {
  await web.withPage(async ({ page, requests }) => {
    const before = requests.length;
    const code = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return (await window.outcome(IntentClassifier.load({ pack: '/models/tiny.gguf', signal: AbortSignal.abort() }))).code;
    });
    assert.equal(code, 'aborted');
    assert.deepEqual(requests.slice(before).filter(isOfLoading), []);
  });
});

/** @type {[string, string][]} */
const BROKEN = [
  ['cut-in-tensors.gguf', 'truncated'],
  ['cut-in-header.gguf', 'truncated'],
  ['not-gguf.gguf', 'invalid_gguf'],
];
for (const [file, code] of BROKEN) {
  test(`${file} is refused with ${code}, and the message names the file`, async () => {
    await web.withPage(async ({ page, complaints }) => {
      const outcomes = await page.evaluate(async (file) => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const url = `/models/${file}`;
        const blob = await (await fetch(url)).blob();
        const byUrl = await window.outcome(IntentClassifier.load({ pack: url }));
        const byFile = await window.outcome(IntentClassifier.load({ pack: new File([blob], file) }));
        const byBytes = await window.outcome(IntentClassifier.load({ pack: await blob.arrayBuffer() }));
        return [byUrl, byFile, byBytes].map(({ code, message, name }) => ({ code, message, name }));
      }, file);
      assert.deepEqual(outcomes.map((outcome) => outcome.code), [code, code, code], JSON.stringify(outcomes));
      assert.deepEqual(outcomes.map((outcome) => outcome.name), ['IntentError', 'IntentError', 'IntentError']);
      assert.ok(outcomes[0].message.includes(`${web.origin()}/models/${file}`), outcomes[0].message);
      assert.ok(outcomes[1].message.includes(file), outcomes[1].message);
      await noWorkers(page);
      assert.deepEqual(complaints, []);
    });
  });
}

test('a missing file is a network error that names address and status', async () => {
  await web.withPage(async ({ page }) => {
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load({ pack: '/models/nowhere.gguf' }));
    });
    assert.equal(outcome.code, 'network');
    assert.ok(outcome.message.includes(`${web.origin()}/models/nowhere.gguf: HTTP 404`), outcome.message);
    await noWorkers(page);
  });
});

test('bad options are named before anything starts', async () => {
  await web.withPage(async ({ page, requests }) => {
    const before = requests.length;
    const outcomes = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const load = /** @type {(options?: unknown) => Promise<unknown>} */ (IntentClassifier.load.bind(IntentClassifier));
      const pack = '/models/tiny.gguf';
      /** @type {Record<string, any>} */
      const circular = {};
      circular.self = circular;
      /** @type {[string, unknown][]} */
      const cases = [
        ['pack', { pack: null }],
        ['pack', { pack: 7 }],
        ['pack', { pack: 'http://' }],
        ['options', 7],
        ['threshold', { pack, threshold: 1.5 }],
        ['threshold', { pack, threshold: NaN }],
        ['config', { pack, config: 'x' }],
        ['config', { pack, config: circular }],
        ['config', { config: {} }],
        ['signal', { pack, signal: {} }],
        ['onProgress', { pack, onProgress: 1 }],
      ];
      const outcomes = [];
      for (const [name, options] of cases) outcomes.push({ name, outcome: await window.outcome(load(options)) });
      return outcomes;
    });
    assert.equal(outcomes.length, 11);
    for (const { name, outcome } of outcomes) {
      assert.equal(outcome.code, 'invalid_argument', `${name}: ${JSON.stringify(outcome)}`);
      assert.ok(outcome.message.startsWith(`${name}: `), outcome.message);
    }
    assert.deepEqual(requests.slice(before).filter(isOfLoading), []);
  });
});

test('a configuration that cannot work is refused by the engine', async () => {
  await web.withPage(async ({ page }) => {
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load({ pack: '/models/tiny.gguf', config: { labels: [] } }));
    });
    assert.equal(outcome.code, 'invalid_config', outcome.message);
    await noWorkers(page);
  });
});

test('the browser is asked to keep models only by cache: persist, and its answer changes nothing', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const { counts, kept } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const { persist } = await import('/pkg/cache/index.js');
      let asked = 0;
      const answer = (/** @type {() => Promise<boolean>} */ given) => {
        StorageManager.prototype.persist = () => ((asked += 1), given());
      };
      answer(async () => true);
      const pack = '/models/tiny.gguf';
      /** @type {number[]} */
      const counts = [];
      for (const options of /** @type {const} */ ([{}, { cache: true }, { cache: false }, { cache: 'persist' }])) {
        (await IntentClassifier.load({ pack, ...options })).dispose();
        counts.push(asked);
      }
      answer(() => Promise.reject(new TypeError('no')));
      (await IntentClassifier.load({ pack, cache: 'persist' })).dispose();
      counts.push(asked);
      answer(async () => true);
      return { counts, kept: await persist() };
    });
    assert.deepEqual(counts, [0, 0, 0, 1, 2]);
    assert.equal(kept, true);
    assert.deepEqual(complaints, []);
  });
});

test('two models load and answer at once', async () => {
  await web.withPage(async ({ page }) => {
    const answers = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const pack = '/models/tiny.gguf';
      const both = await Promise.all([IntentClassifier.load({ pack }), IntentClassifier.load({ pack })]);
      const answers = await Promise.all(both.map((classifier) => classifier.classify('is my router online?')));
      both[0].dispose();
      return [...answers, await both[1].classify('is my router online?')].map((answer) => ({ ...answer, ms: 0 }));
    });
    assert.deepEqual(answers[1], answers[0]);
    assert.deepEqual(answers[2], answers[0], 'disposing one leaves the other alone');
  });
});

test('info says what is loaded and how it runs', async () => {
  await web.withPage(async ({ page }) => {
    const { info, lowered } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', threads: 1 });
      const other = await IntentClassifier.load({ pack: '/models/tiny.gguf', threshold: 0.1 });
      return { info: await classifier.info(), lowered: (await other.info()).threshold };
    });
    assert.equal(info.architecture, 'qwen2');
    assert.equal(info.labels.length, 6);
    assert.deepEqual(info.always_escalate, ['billing', 'unknown']);
    // The engine keeps it in 32 bits.
    assert.equal(info.threshold, Math.fround(0.55));
    assert.equal(lowered, 0.1);
    assert.equal(info.maxMessageChars, 2000);
    assert.equal(info.threads, 1);
    assert.equal(info.reason, 'one thread was asked for');
    assert.ok(info.parameters > 0 && info.weight_bytes > 0 && info.prefix_tokens > 0, JSON.stringify(info));
    assert.ok(info.wasmMemoryBytes >= info.weight_bytes, JSON.stringify(info));
  });
});
