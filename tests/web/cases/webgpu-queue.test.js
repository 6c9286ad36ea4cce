/** What a GPU is given while somebody types, and what comes back of it. */

import assert from 'node:assert/strict';
import { change } from '../lib/change.js';
import { gpuTest as test } from '../lib/gpu-test.js';
import { suite } from '../lib/suite.js';

/** @typedef {{ ahead: number, total: number, mapped: number[] }} Seen Submissions that were not done at most, all of them, and bytes of each read. */
/** @typedef {{ classifier: import('/pkg/index.js').IntentClassifier, session: ReturnType<import('/pkg/index.js').IntentClassifier['session']> }} Given */

const web = suite({ gpu: true });

/** In the Worker, before anything else: a device that is slow to say that it is done. */
const SLOW = `
let [submitted, done] = [0, 0];
globalThis.seen = null;
const submit = GPUQueue.prototype.submit;
GPUQueue.prototype.submit = function (commands) {
  submitted += 1;
  if (globalThis.seen) globalThis.seen = { ...globalThis.seen, total: globalThis.seen.total + 1, ahead: Math.max(globalThis.seen.ahead, submitted - done) };
  return submit.call(this, commands);
};
const finished = GPUQueue.prototype.onSubmittedWorkDone;
GPUQueue.prototype.onSubmittedWorkDone = async function () {
  const before = submitted;
  await finished.call(this);
  await new Promise((resolve) => setTimeout(resolve, 40));
  done = Math.max(done, before);
};
const map = GPUBuffer.prototype.mapAsync;
GPUBuffer.prototype.mapAsync = async function (mode, offset, size) {
  const before = submitted;
  globalThis.seen?.mapped.push(size);
  await map.call(this, mode, offset, size);
  done = Math.max(done, before);
};
globalThis.watch = () => {
  done = submitted;
  globalThis.seen = { ahead: 0, total: 0, mapped: [] };
};
`;

test('while somebody types a GPU has one pass at a time, a newer text ends an older one between two, and only logits come back', async () => {
  await web.withPage(
    async ({ page }) => {
      const loaded = page.waitForEvent('worker');
      await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', backend: 'webgpu' });
        Object.assign(window, { classifier, session: classifier.session() });
      });
      const worker = await loaded;
      /**
       * @template T
       * @param {(given: Given) => Promise<T>} work In the page.
       * @returns {Promise<{ value: T, seen: Seen }>}
       */
      const watched = async (work) => {
        await worker.evaluate('globalThis.watch()');
        const value = /** @type {T} */ (await page.evaluate(`(${work})(window)`));
        return { value, seen: await worker.evaluate('globalThis.seen') };
      };

      const typed = await watched(({ session }) => session.update('my internet is down and '.repeat(60).trim()));
      assert.deepEqual([typed.value.backend, typed.value.confidence !== null], ['webgpu', true]);
      assert.ok(typed.seen.total >= 8, `${typed.seen.total} submissions`);
      // A pass over two layers has fewer operations than a submission takes.
      assert.equal(typed.seen.ahead, 1, `of ${typed.seen.total} submissions at once`);

      const ended = await watched(async ({ session }) => {
        const older = session.update('why was I charged twice '.repeat(60).trim()).catch(({ code }) => code);
        await new Promise((resolve) => setTimeout(resolve, 60));
        const { confidence } = await session.update('hello');
        return { older: await older, confidence };
      });
      assert.deepEqual([ended.value.older, ended.value.confidence !== null], ['superseded', true]);
      assert.ok(ended.seen.total < typed.seen.total, `${ended.seen.total} submissions, ${typed.seen.total} where nothing newer comes`);

      const plain = await watched(({ classifier }) => classifier.classify('my internet is down'));
      const full = await watched(({ classifier }) => classifier.classify('my internet is down', { tokenConfidence: true }));
      assert.deepEqual([plain.seen.mapped.length, full.seen.mapped.length], [1, 2]);
      // With it come hidden states, of 256 values a row.
      assert.ok(plain.seen.mapped[0] < 1024 && full.seen.mapped[0] > 1024, `${plain.seen.mapped}, ${full.seen.mapped}`);
    },
    (context) => change(context, '**/pkg/worker.js', 'const engine = new Engine(', `${SLOW}\nconst engine = new Engine(`),
  );
});
