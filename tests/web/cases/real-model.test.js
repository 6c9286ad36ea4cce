/**
 * The real models in Chromium against the native binary. Prints how long it takes and how
 * much memory it needs.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { distance, offer } from '../lib/adapters.js';
import { notRun } from '../lib/not-run.js';
import { ROOT, binary } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

const FOLDER = process.env.RELAYOPS_TEST_MODELS ?? '';
/** The bigger one is for people who have it: its native and browser runs take minutes. */
const MODELS = [
  { name: '0.5B', file: 'qwen2.5-coder-0.5b-instruct-q4_k_m.gguf', adapter: 'qwen2.5-0.5b-lora', count: 20 },
  { name: '1.5B', file: 'qwen2.5-coder-1.5b-instruct-q4_k_m.gguf', adapter: 'qwen2.5-1.5b-lora', count: 5 },
];
/**
 * Of probabilities. Every build multiplies the same integers and adds floats in the same order; only the last softmax's
 * functions differ.
 */
const TOLERANCE = 1e-5;
/** Least change of a probability that an adapter has to bring about. */
const CHANGE = 0.1;
/** Most memory that loading and classifying may take, as a multiple of the file. */
const MEMORY_FACTOR = 1.3;
const LOAD_MS = 300_000;

/** The adapter that is swapped. */
const ADAPTER = MODELS[0].adapter;

for (const model of MODELS) {
  const names = [
    `the real ${model.name} answers in Chromium as it does natively`,
    `the page answers with the real ${model.name} and its adapter as the native binary does`,
  ];
  if (FOLDER !== '' && existsSync(join(FOLDER, model.file))) {
    withModel(model, names);
  } else {
    const reason = FOLDER === '' ? 'RELAYOPS_TEST_MODELS is not set' : `RELAYOPS_TEST_MODELS has no ${model.file}`;
    for (const name of names) test(name, (context) => notRun(context, reason));
  }
}

const ADAPTER_TEST = 'the real 0.5B takes an adapter and gives it back in Chromium';
if (FOLDER !== '' && existsSync(join(FOLDER, MODELS[0].file))) {
  withAdapter(MODELS[0].file);
} else {
  const reason = FOLDER === '' ? 'RELAYOPS_TEST_MODELS is not set' : `RELAYOPS_TEST_MODELS has no ${MODELS[0].file}`;
  test(ADAPTER_TEST, (context) => notRun(context, reason));
}

/**
 * @param {string} path
 * @param {string[]} texts
 * @param {string[]} [more] Further options.
 * @returns {ClassifyResult[]}
 */
function native(path, texts, more = []) {
  const args = ['classify', '--model', path, '--json', ...more, '--', ...texts];
  const output = execFileSync(binary(), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return output.trim().split('\n').map((line) => JSON.parse(line));
}

/**
 * @param {number[]} values
 * @param {number} share
 */
function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/**
 * @param {typeof MODELS[number]} model
 * @param {string[]} names
 */
function withModel({ name, file, adapter, count }, names) {
  const web = suite({ models: FOLDER });
  const path = join(FOLDER, file);
  /** @type {string[]} */
  const all = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));
  const texts = all.slice(0, count);
  /** @type {ClassifyResult[]} */
  let expected = [];

  test(names[0], { timeout: 2 * LOAD_MS }, async () => {
    expected = native(path, texts);
    assert.equal(expected.length, texts.length);
    await web.withPage(async ({ page, complaints }) => {
      const { answers, info, loadMs, ended } = await page.evaluate(
        async ({ url, texts }) => {
          const { IntentClassifier } = await import('/pkg/index.js');
          const started = performance.now();
          const classifier = await IntentClassifier.load({ pack: url });
          const loadMs = performance.now() - started;
          const answers = [];
          for (const text of texts) answers.push(await classifier.classify(text));
          // How long an older text still keeps the Worker from a newer one.
          const ended = [];
          const typing = classifier.session();
          for (const [index, text] of texts.entries()) {
            const older = window.outcome(typing.update(text));
            // At different places of its pass.
            await new Promise((resolve) => setTimeout(resolve, 5 * (index % 8)));
            const changed = performance.now();
            const newer = window.outcome(typing.update(`${text}, please`));
            const { code } = await older;
            ended.push({ code, ms: performance.now() - changed });
            await newer;
          }
          typing.close();
          return { answers, info: await classifier.info(), loadMs, ended };
        },
        { url: `/models/${file}`, texts },
      );
      for (const { code } of ended) assert.equal(code, 'superseded');
      const ends = ended.map(({ ms }) => ms);
      let worst = 0;
      for (const [index, answer] of answers.entries()) {
        assert.equal(answer.json, expected[index].json, texts[index]);
        assert.deepEqual(answer.decision, expected[index].decision, texts[index]);
        worst = Math.max(worst, distance(answer.probabilities, expected[index].probabilities));
      }
      const times = answers.map((answer) => answer.ms);
      const fileBytes = statSync(path).size;
      const factor = info.wasmMemoryBytes / fileBytes;
      console.log(
        `MEASURED ${file} in Chromium, ${info.backend}, ${info.threads} thread(s): load ${loadMs.toFixed(0)} ms; ` +
          `wasm memory ${(info.wasmMemoryBytes / 2 ** 20).toFixed(0)} MiB, ${factor.toFixed(2)} x the file; ` +
          `per message median ${quantile(times, 0.5).toFixed(0)} ms, p95 ${quantile(times, 0.95).toFixed(0)} ms (n=${times.length}); ` +
          `a newer text ends an older one in a median of ${quantile(ends, 0.5).toFixed(1)} ms, at most ${quantile(ends, 1).toFixed(1)} ms; ` +
          `largest probability difference to native ${worst.toExponential(1)}`,
      );
      assert.ok(worst <= TOLERANCE, `probabilities differ by ${worst}`);
      assert.ok(factor <= MEMORY_FACTOR, `wasm memory is ${factor} times the file`);
      assert.deepEqual(complaints, []);
    });
  });

  test(names[1], { timeout: 2 * LOAD_MS }, async () => {
    const trained = native(path, texts, ['--adapter', join(ROOT, 'models', adapter)]);
    await web.withPage(async ({ page, complaints }) => {
      page.setDefaultTimeout(LOAD_MS);
      await page.getByRole('button', { name: `Load Qwen2.5 ${name} with its adapter`, exact: true }).click();
      await page.waitForSelector('#model-loaded:not([hidden]), #model-error:not([hidden])');
      assert.ok(await page.isVisible('#model-loaded'), (await page.textContent('#model-error')) ?? '');
      for (const [index, text] of texts.entries()) {
        await page.fill('#text', text);
        await page.click('#classify');
        await page.waitForFunction((text) => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent === text, text);
        assert.equal(await page.textContent('#json'), trained[index].json, text);
      }
      assert.deepEqual(complaints, []);
    });
  });
}

/** @param {string} file */
function withAdapter(file) {
  const web = suite({ models: FOLDER });
  const [path, adapter] = [join(FOLDER, file), join(ROOT, 'models', ADAPTER)];
  /** @type {string[]} */
  const texts = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8')).slice(0, 5);

  test(ADAPTER_TEST, { timeout: 2 * LOAD_MS }, async () => {
    const expected = [native(path, texts), native(path, texts, ['--adapter', adapter])];
    await web.withPage(
      async ({ page, requests, complaints }) => {
        const { answers, swaps, memory } = await page.evaluate(
          async ({ url, name, texts }) => {
            const { IntentClassifier } = await import('/pkg/index.js');
            const classifier = await IntentClassifier.load({ pack: url });
            /** @type {{ answers: ClassifyResult[][], swaps: number[], memory: number[] }} */
            const { answers, swaps, memory } = { answers: [], swaps: [], memory: [] };
            for (const source of [null, `/adapters/${name}/`, null]) {
              const started = performance.now();
              await classifier.setAdapter(source);
              swaps.push(performance.now() - started);
              const results = [];
              for (const text of texts) results.push(await classifier.classify(text));
              answers.push(results);
              memory.push((await classifier.info()).wasmMemoryBytes);
            }
            return { answers, swaps, memory };
          },
          { url: `/models/${file}`, name: ADAPTER, texts },
        );
        let worst = 0;
        for (const [round, results] of answers.entries()) {
          for (const [index, result] of results.entries()) {
            const wanted = expected[round % 2][index];
            worst = Math.max(worst, distance(result.probabilities, wanted.probabilities));
          }
        }
        const times = answers.map((results) => quantile(results.map((result) => result.ms), 0.5).toFixed(0));
        console.log(
          `MEASURED ${ADAPTER} in Chromium: on in ${swaps[1].toFixed(0)} ms, off in ${swaps[2].toFixed(0)} ms; ` +
            `per message median ${times.join(', ')} ms without, with, without (n=${texts.length}); ` +
            `wasm memory ${memory.map((bytes) => (bytes / 2 ** 20).toFixed(0)).join(', ')} MiB; ` +
            `largest probability difference to native ${worst.toExponential(1)}`,
        );
        assert.ok(worst <= TOLERANCE, `probabilities differ by ${worst}`);
        assert.deepEqual(answers[2].map((result) => result.probabilities), answers[0].map((result) => result.probabilities));
        assert.ok(answers[1].some((result, index) => distance(result.probabilities, answers[0][index].probabilities) > CHANGE));
        assert.equal(requests.filter((url) => url.endsWith(file)).length, 1, 'the base is fetched once');
        assert.deepEqual(complaints, []);
      },
      (context) => offer(context, { [ADAPTER]: adapter }),
    );
  });
}
