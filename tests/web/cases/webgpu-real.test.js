/** The real 0.5B on WebGPU, in software, against the CPU of the same browser. Minutes of work. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { distance } from '../lib/adapters.js';
import { gpuTest } from '../lib/gpu-test.js';
import { notRun } from '../lib/not-run.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

const FOLDER = process.env.RELAYOPS_TEST_MODELS ?? '';
const FILE = 'qwen2.5-coder-0.5b-instruct-q4_k_m.gguf';
const NAME = 'the real 0.5B gives the CPU’s labels on WebGPU';
/** The CPU rounds activations to 8 bits (see real-model.test.js), the GPU does not. */
const TOLERANCE = 0.15;
/** A lead of the best label from which on it must be the same. */
const CONFIDENT = 0.3;
const LIMIT_MS = 1_800_000;

if (FOLDER === '' || !existsSync(join(FOLDER, FILE))) {
  const reason = FOLDER === '' ? 'RELAYOPS_TEST_MODELS is not set' : `RELAYOPS_TEST_MODELS has no ${FILE}`;
  test(NAME, (context) => notRun(context, reason));
} else {
  const web = suite({ models: FOLDER, gpu: true });
  /** @type {string[]} */
  const texts = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));
  gpuTest(NAME, async () => {
    await web.withPage(async ({ page, complaints }) => {
      /** @param {'cpu' | 'webgpu'} backend */
      const ask = (backend) =>
        page.evaluate(
          async ({ url, texts, backend }) => {
            const { IntentClassifier } = await import('/pkg/index.js');
            const classifier = await IntentClassifier.load({ pack: url, backend });
            const answers = [];
            for (const text of texts) answers.push(await classifier.classify(text));
            const info = await classifier.info();
            classifier.dispose();
            return { answers, info };
          },
          { url: `/models/${FILE}`, texts, backend },
        );
      const gpu = await ask('webgpu');
      const cpu = await ask('cpu');
      assert.equal(gpu.info.backend, 'webgpu', gpu.info.reason ?? '');
      let [worst, flips] = [0, 0];
      for (const [index, answer] of gpu.answers.entries()) {
        const wanted = cpu.answers[index];
        worst = Math.max(worst, distance(answer.probabilities, wanted.probabilities));
        if (answer.intent === wanted.intent) continue;
        flips += 1;
        assert.ok((wanted.margin ?? 1) < CONFIDENT, `${texts[index]}: ${answer.intent} for ${wanted.intent}, which leads by ${wanted.margin}`);
      }
      const times = gpu.answers.map(({ ms }) => ms).toSorted((a, b) => a - b);
      console.log(
        `MEASURED ${FILE} on WebGPU (${gpu.info.gpu?.architecture}): ${flips} of ${texts.length} labels flip against the CPU, probabilities differ by up to ` +
          `${worst.toFixed(3)}; per message median ${times[times.length >> 1].toFixed(0)} ms; wasm memory ${(gpu.info.wasmMemoryBytes / 2 ** 20).toFixed(0)} MiB`,
      );
      assert.ok(worst <= TOLERANCE, `probabilities differ by ${worst}`);
      assert.deepEqual(complaints, []);
    });
  }, { timeout: LIMIT_MS });
}
