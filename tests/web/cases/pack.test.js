/** A pack of Qwen2 in several files, made from the tiny model: loaded in order, held against the native build. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, test } from 'node:test';
import { binary } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('playwright-core').BrowserContext} BrowserContext */

const web = suite();

/** Small enough for some dozens of files. */
const MAX_FILE_BYTES = 200_000;
/** Native and browser: see `TOLERANCE` in real-model.test.js. */
const TOLERANCE = 1e-5;
const TEXTS = ['my internet is down', 'why was I charged twice', 'hello there, thanks'];

let folder = '';

before(() => {
  const { folder: models, tiny } = web.models();
  folder = join(models, 'tiny-pack');
  const origin = join(models, 'origin.json');
  writeFileSync(origin, JSON.stringify({ base: 'tiny', sha256: '0'.repeat(64), licence: 'MIT', notices: '' }));
  const args = ['pack', '--base', tiny, '--out', folder, '--name', 'tiny', '--origin', origin];
  execFileSync(binary(), [...args, '--quant', 'q4_k,embedding=q8_0', '--max-file-bytes', String(MAX_FILE_BYTES)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
});

/**
 * Serves the pack's files, one of them changed or missing where asked.
 *
 * @param {BrowserContext} context
 * @param {(name: string, body: Buffer) => Buffer | null} [change]
 * @returns {Promise<string[]>} The names in the order in which they are asked for.
 */
async function servePack(context, change = (_, body) => body) {
  /** @type {string[]} */
  const asked = [];
  await context.route('**/tiny-pack/*', async (route) => {
    const name = basename(new URL(route.request().url()).pathname);
    asked.push(name);
    const path = join(folder, name);
    const body = existsSync(path) ? change(name, readFileSync(path)) : null;
    await (body ? route.fulfill({ status: 200, body }) : route.fulfill({ status: 404, body: '' }));
  });
  return asked;
}

test('a pack in several files is loaded in their order and answers as it does natively', async () => {
  /** @type {{ files: { path: string, bytes: number }[] }} */
  const manifest = JSON.parse(readFileSync(join(folder, 'pack.json'), 'utf8'));
  assert.ok(manifest.files.length > 5, `${manifest.files.length} files`);
  assert.ok(manifest.files.every((file) => file.bytes <= MAX_FILE_BYTES));
  const lines = execFileSync(binary(), ['classify', '--json', '--model', folder, '--', ...TEXTS], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const native = lines.trimEnd().split('\n').map((line) => JSON.parse(line));
  await web.withPage(async ({ page, context, complaints }) => {
    const asked = await servePack(context);
    const { results, progress } = await page.evaluate(async (texts) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const progress = [];
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ step) => void progress.push(step);
      const classifier = await IntentClassifier.load({ pack: '/tiny-pack/', onProgress });
      const results = [];
      for (const text of texts) results.push(await classifier.classify(text));
      return { results, progress };
    }, TEXTS);
    assert.deepEqual(asked, ['pack.json', ...manifest.files.map((file) => file.path)]);
    const total = manifest.files.reduce((sum, file) => sum + file.bytes, 0);
    const downloads = progress.filter((step) => step.phase === 'download');
    assert.deepEqual(downloads.at(-1), { phase: 'download', loaded: total, total, cache: { state: 'writing', bytes: 0 } });
    for (const [index, ours] of results.entries()) {
      assert.equal(ours.stage, 'tiny');
      assert.ok(ours.probabilities);
      for (const [label, share] of Object.entries(ours.probabilities)) {
        const off = Math.abs(share - native[index].probabilities[label]);
        assert.ok(off <= TOLERANCE, `${TEXTS[index]}: ${label} differs by ${off}`);
      }
    }
    assert.deepEqual(complaints, []);
  });
});

test('a damaged file among several is refused by name, and so is a missing one', async () => {
  const name = 'model-002.gguf-part';
  for (const [code, change] of /** @type {[string, (body: Buffer) => Buffer | null][]} */ ([
    ['checksum', (body) => (body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1), body)],
    ['network', () => null],
  ])) {
    await web.withPage(async ({ page, context }) => {
      await servePack(context, (file, body) => (file === name ? change(body) : body));
      const outcome = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        return window.outcome(IntentClassifier.load({ pack: '/tiny-pack/' }));
      });
      assert.equal(outcome.code, code, outcome.message);
      assert.ok(outcome.message.includes(name), outcome.message);
    });
  }
});
