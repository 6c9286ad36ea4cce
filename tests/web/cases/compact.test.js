/** The pack that comes with the package: loaded without arguments, and held against the native build. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT, binary } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

const web = suite();

/** Largest difference of a probability between the two builds: only the last softmax's functions are the platform's. */
const TOLERANCE = 1e-5;

/** Native results, in the order of `texts`. @param {string[]} texts @returns {ClassifyResult[]} */
function classifyNatively(texts) {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-compact-'));
  try {
    const file = join(folder, 'messages.jsonl');
    writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    const lines = execFileSync(binary(), ['classify', '--json', '--jsonl', file], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return lines.trimEnd().split('\n').map((line) => JSON.parse(line));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Texts of every set that models are judged on: held-out, dev and adversarial. @returns {string[]} */
function allSets() {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-sets-'));
  try {
    execFileSync(binary(), ['dataset', '--out', folder], { stdio: 'ignore' });
    const files = [join(folder, 'test.jsonl'), join(ROOT, 'data/dev.jsonl'), join(ROOT, 'data/adversarial.jsonl')];
    const lines = files.flatMap((file) => readFileSync(file, 'utf8').trimEnd().split('\n'));
    return lines.map((line) => JSON.parse(line).text);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('load() without arguments classifies with compact, from this package’s own files', async () => {
  await web.withPage(async ({ page, requests, complaints }) => {
    const { result, info } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      return { result: await classifier.classify('my internet is down'), info: await classifier.info() };
    });
    assert.equal(result.json, '{"intent": "reset_device"}');
    assert.equal(result.stage, 'compact');
    assert.equal(info.architecture, 'bert');
    const foreign = requests.filter((url) => !url.startsWith(web.origin()));
    assert.deepEqual([foreign, complaints], [[], []]);
  });
});

test('a pack by the address of its folder or its manifest is the same model', async () => {
  await web.withPage(async ({ page }) => {
    const answers = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const answers = [];
      for (const pack of [undefined, '/pkg/models/compact/', '/pkg/models/compact/pack.json']) {
        const classifier = await IntentClassifier.load(pack === undefined ? {} : { pack });
        answers.push({ ...(await classifier.classify('why was I charged twice')), ms: 0 });
        classifier.dispose();
      }
      return answers;
    });
    assert.equal(answers[0].intent, 'billing');
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
  });
});

test('a pack whose file was changed on its way is refused', async () => {
  await web.withPage(async ({ page, context }) => {
    await context.route('**/models/compact/model.gguf', async (route) => {
      const response = await route.fetch();
      const body = await response.body();
      body[body.length - 1] ^= 1;
      await route.fulfill({ response, body });
    });
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load({ pack: '/pkg/models/compact/' }));
    });
    assert.equal(outcome.code, 'checksum');
    assert.match(outcome.message, /model\.gguf/);
  });
});

test('a manifest without an end is refused', async () => {
  await web.withPage(async ({ page, context }) => {
    const body = Buffer.alloc(4 * 1024 * 1024 + 1, ' ');
    await context.route('**/models/compact/pack.json', (route) => route.fulfill({ body, contentType: 'application/json' }));
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load({ pack: '/pkg/models/compact/' }));
    });
    assert.equal(outcome.code, 'invalid_pack');
    assert.match(outcome.message, /pack\.json: has more than/);
  });
});

test('a configuration beside a pack is refused: the pack has its own', async () => {
  await web.withPage(async ({ page }) => {
    const outcome = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load({ config: {} }));
    });
    assert.equal(outcome.code, 'invalid_argument');
    assert.match(outcome.message, /^config: /);
  });
});

test('native and browser agree on every label and route of all sets', async () => {
  const texts = allSets();
  const native = classifyNatively(texts);
  assert.equal(native.length, texts.length);
  await web.withPage(async ({ page }) => {
    const browser = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load();
      const results = [];
      for (const text of texts) results.push(await classifier.classify(text));
      return results;
    }, texts);
    let worst = 0;
    const flips = [];
    for (const [index, ours] of browser.entries()) {
      const theirs = native[index];
      if (ours.intent !== theirs.intent) flips.push(texts[index]);
      assert.deepEqual(ours.decision, theirs.decision, texts[index]);
      assert.ok(ours.probabilities && theirs.probabilities, texts[index]);
      for (const [label, share] of Object.entries(ours.probabilities)) {
        worst = Math.max(worst, Math.abs(share - theirs.probabilities[label]));
      }
    }
    console.log(`MEASURED compact, native and browser: ${texts.length} messages, ${flips.length} flips, largest difference ${worst}`);
    assert.deepEqual(flips, []);
    assert.ok(worst <= TOLERANCE, `a probability differs by ${worst}`);
  });
});
