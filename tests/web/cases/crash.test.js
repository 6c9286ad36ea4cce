/** What callers see when the Worker or the engine breaks down. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noWorkers } from '../lib/browser.js';
import { suite } from '../lib/suite.js';

const web = suite();

/** @typedef {import('../lib/browser.js').Page} Page */

/** @param {Page} page */
function loadOutcome(page) {
  return page.evaluate(async () => {
    const { IntentClassifier } = await import('/pkg/index.js');
    const { code, message, name } = await window.outcome(IntentClassifier.load({ pack: '/models/tiny.gguf' }));
    return { code, message, name };
  });
}

test('a Worker script that is not there', async () => {
  await web.withPage(
    async ({ page }) => {
      const outcome = await loadOutcome(page);
      assert.deepEqual([outcome.code, outcome.name], ['worker_failed', 'IntentError'], outcome.message);
      await noWorkers(page);
    },
    (context) => context.route('**/pkg/worker.js', (route) => route.fulfill({ status: 404 })),
  );
});

test('a Worker script that throws while it starts', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      const outcome = await loadOutcome(page);
      assert.equal(outcome.code, 'worker_failed', outcome.message);
      assert.match(outcome.message, /spilled coffee/);
      await noWorkers(page);
      assert.deepEqual(complaints, [], 'reported once, by rejecting');
    },
    (context) => replaceScript(context, '**/pkg/worker.js', "throw new Error('spilled coffee');"),
  );
});

test('a WebAssembly file that is not there', async () => {
  await web.withPage(
    async ({ page }) => {
      const outcome = await loadOutcome(page);
      assert.equal(outcome.code, 'network', outcome.message);
      assert.match(outcome.message, /relayops_intent_bg\.wasm: HTTP 404/);
      await noWorkers(page);
    },
    (context) => context.route('**/relayops_intent_bg.wasm', (route) => route.fulfill({ status: 404 })),
  );
});

test('a WebAssembly file that is damaged', async () => {
  await web.withPage(
    async ({ page }) => {
      const outcome = await loadOutcome(page);
      assert.equal(outcome.code, 'worker_failed', outcome.message);
      assert.match(outcome.message, /relayops_intent_bg\.wasm: CompileError/);
      await noWorkers(page);
    },
    (context) =>
      context.route('**/relayops_intent_bg.wasm', (route) =>
        route.fulfill({ contentType: 'application/wasm', headers: CORP, body: Buffer.from('\0asm\x01\0\0\0\x63\x63') }),
      ),
  );
});

test('a crash rejects the running call, the queued ones and later ones', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', threads: 1 });
      const another = await IntentClassifier.load({ pack: '/models/tiny.gguf', threads: 1 });
      Object.assign(window, { classifier, another });
    });
    // An uncaught error inside the Worker; its next task, the running call, can't answer after it.
    await page.workers()[0].evaluate(() => {
      const answer = globalThis.postMessage;
      globalThis.postMessage = () => {
        globalThis.postMessage = answer;
        setTimeout(() => {
          throw new Error('spilled coffee');
        });
      };
    });
    const outcomes = await page.evaluate(async () => {
      const { classifier, another } = /** @type {any} */ (window);
      const pending = ['a', 'b', 'c'].map((text) => window.outcome(classifier.classify(text)));
      const outcomes = await Promise.all(pending);
      outcomes.push(await window.outcome(classifier.classify('d')), await window.outcome(another.classify('e')));
      return outcomes.map(({ code, message }) => ({ code, message }));
    });
    const codes = outcomes.map((outcome) => outcome.code);
    assert.deepEqual(codes, [...Array(4).fill('worker_failed'), 'fulfilled'], 'another classifier is not touched');
    assert.match(outcomes[0].message, /spilled coffee/);
    assert.equal(page.workers().length, 1, 'the crashed Worker is gone');
    assert.deepEqual(complaints, []);
  });
});

/** An engine that loads anything and traps on its first message. */
const TRAPPING_ENGINE = `
  export default async () => ({ memory: new WebAssembly.Memory({ initial: 1 }) });
  export const max_message_chars = () => 2000;
  export const threads = () => navigator.hardwareConcurrency;
  export const turn_address = () => 0;
  export const join = () => {};
  export const help = () => 0;
  export const adapter_files = () => [];
  const bytes = Uint8Array.of(0,97,115,109,1,0,0,0, 1,4,1,96,0,0, 3,2,1,0, 7,5,1,1,116,0,0, 10,5,1,3,0,0,11);
  const trap = () => new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.t();
  export class ModelLoader {
    push() {}
    finish() { return { classify: trap, info: () => ({ threshold: 0.5 }) }; }
  }
`;

test('a trap in the engine ends the classifier: its memory can’t be trusted', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      const outcomes = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf' });
        const calls = [classifier.classify('a'), classifier.classify('b'), classifier.info()];
        const outcomes = await Promise.all(calls.map((call) => window.outcome(/** @type {Promise<unknown>} */ (call))));
        return [...outcomes, await window.outcome(classifier.info())].map(({ code, message }) => ({ code, message }));
      });
      assert.deepEqual(outcomes.map((outcome) => outcome.code), Array(4).fill('worker_failed'));
      assert.match(outcomes[0].message, /RuntimeError: unreachable.*memory ran out/);
      await noWorkers(page);
      assert.deepEqual(complaints, []);
    },
    (context) => replaceScript(context, '**/pkg/wasm/*/relayops_intent.js', TRAPPING_ENGINE),
  );
});

test('the page says that the engine broke down and offers the choice of a model again', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.setInputFiles('#file', web.models().tiny);
      await page.waitForSelector('#model-loading:not([hidden])');
      await page.waitForSelector('#model-error:not([hidden]), #model-loaded:not([hidden])');
      assert.equal(await page.textContent('#model-error code'), 'worker_failed');
      assert.ok(await page.isVisible('#model-choose'));
    },
    (context) => replaceScript(context, '**/pkg/worker.js', "throw new Error('spilled coffee');"),
  );
});

test('the page notices a crash after loading, says so, and loads again', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.setInputFiles('#file', web.models().tiny);
    await page.waitForSelector('#model-loaded:not([hidden])');
    await page.workers()[0].evaluate(() => {
      setTimeout(() => {
        throw new Error('spilled coffee');
      });
    });
    await noWorkers(page);
    // The first thing that is typed meets it.
    await page.fill('#text', 'my internet is down');
    await page.waitForSelector('#result-error:not([hidden])');
    assert.equal(await page.textContent('#result-error code'), 'worker_failed');
    await page.waitForSelector('#model-choose:not([hidden])');
    assert.ok(await page.isDisabled('#classify'));
    await page.setInputFiles('#file', web.models().tiny);
    await page.waitForSelector('#model-loaded:not([hidden])');
    // What was written is still there.
    await page.click('#classify');
    await page.waitForSelector('#result[data-phase="sent"]:not([hidden])');
    assert.equal(await page.textContent('#result-text'), 'my internet is down');
    assert.deepEqual(complaints, []);
  });
});

test('a browser without WebAssembly SIMD is told so', async () => {
  await web.withPage(
    async ({ page, requests }) => {
      const before = requests.length;
      const outcome = await loadOutcome(page);
      assert.deepEqual([outcome.code, outcome.name], ['no_simd', 'IntentError']);
      assert.deepEqual(requests.slice(before).filter((url) => url.includes('worker')), [], 'no Worker is started');
    },
    (context) =>
      context.addInitScript(() => {
        WebAssembly.validate = () => false;
      }),
  );
});

/** A Worker's own files need this where the page is cross-origin isolated. */
const CORP = { 'cross-origin-embedder-policy': 'require-corp', 'cross-origin-resource-policy': 'same-origin' };

/**
 * @param {import('../lib/browser.js').BrowserContext} context
 * @param {string} pattern
 * @param {string} body
 */
function replaceScript(context, pattern, body) {
  return context.route(pattern, (route) => route.fulfill({ contentType: 'text/javascript', headers: CORP, body }));
}
