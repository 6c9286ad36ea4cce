/** What can be said of the package without a browser. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { makeAdapters } from '../lib/adapters.js';
import { allImportsOf, importsOf } from '../lib/imports.js';
import { makeModels } from '../lib/models.js';
import { ROOT } from '../lib/paths.js';

const INDEX = pathToFileURL(join(ROOT, 'pkg/index.js')).href;

test('importing the package in plain Node has no side effects', () => {
  const script = `
    const touched = [];
    for (const name of ['window', 'document', 'Worker', 'navigator', 'location', 'self', 'fetch']) {
      Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); } });
    }
    const before = Reflect.ownKeys(globalThis).length;
    const names = Object.keys(await import(${JSON.stringify(INDEX)})).sort();
    const added = Reflect.ownKeys(globalThis).length - before;
    console.log(JSON.stringify({ touched, names, added, handles: process.getActiveResourcesInfo().filter((name) => /Timeout|Worker|MessagePort|TCP/.test(name)) }));
  `;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 20_000 });
  assert.deepEqual(JSON.parse(output), {
    touched: [],
    names: ['ERROR_CODES', 'IntentClassifier', 'IntentError', 'Outbox', 'redact'],
    added: 0,
    handles: [],
  });
});

test('loading without a browser is an error that says so', async () => {
  const { IntentClassifier, IntentError } = await import('../../../pkg/index.js');
  const load = IntentClassifier.load({ pack: 'http://127.0.0.1/x.gguf' });
  await assert.rejects(load, (error) => error instanceof IntentError && error.code === 'unavailable');
});

test('in Node an adapter’s folder without intent.json lacks that, and one without its tensors cannot be loaded', () => {
  const models = makeModels();
  try {
    const { first, elsewhere } = makeAdapters(join(models.folder, 'adapters'), models.tiny);
    const [base, sound, without] = [models.tiny, `${first}/`, `${elsewhere}/`].map((path) => pathToFileURL(path).href);
    const script = `
      const { IntentClassifier } = await import(${JSON.stringify(pathToFileURL(join(ROOT, 'pkg/node/index.js')).href)});
      const classifier = await IntentClassifier.load({ pack: '${base}', adapter: '${sound}' });
      const outcomes = [];
      for (const cache of [true, false]) {
        for (const adapter of ['${without}', '${sound}nowhere/', '${sound}intent.json/']) {
          outcomes.push(await IntentClassifier.load({ pack: '${base}', adapter, cache }).catch(({ code, message }) => [code, message]));
        }
      }
      await classifier.setAdapter('${without}', { force: true });
      const { intent } = await classifier.classify('my internet is down');
      console.log(JSON.stringify({ outcomes, intent: typeof intent }));
    `;
    // Its options are not the thread's, which is a file.
    const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 60_000 });
    const { outcomes, intent } = JSON.parse(output);
    assert.equal(intent, 'string');
    assert.equal(outcomes.length, 6);
    for (const [index, [code, message]] of outcomes.entries()) {
      assert.equal(code, index % 3 === 0 ? 'wrong_base' : 'network', message);
      assert.match(message, index % 3 === 0 ? /no intent\.json/ : /adapter_config\.json: HTTP 404$/);
    }
  } finally {
    models.remove();
  }
});

test('every code of the engine is in the package’s table', async () => {
  const { ERROR_CODES } = await import('../../../pkg/index.js');
  const rust = readFileSync(join(ROOT, 'src/error.rs'), 'utf8');
  const codes = Array.from(rust.matchAll(/=> "([a-z_]+)"/g), (match) => match[1]);
  assert.ok(codes.length >= 14, 'the codes were found');
  for (const code of codes) assert.ok(Object.hasOwn(ERROR_CODES, code), code);
});

test('the limit of a manifest is the engine’s', async () => {
  // Imported by its address: the types of this module need a browser's Worker.
  const { MAX_MANIFEST_BYTES } = await import(pathToFileURL(join(ROOT, 'pkg/engine/model-source.js')).href);
  const rust = readFileSync(join(ROOT, 'src/pack/manifest.rs'), 'utf8');
  const [, megabytes] = /MAX_MANIFEST_BYTES: usize = (\d+) << 20;/.exec(rust) ?? [];
  assert.equal(MAX_MANIFEST_BYTES, Number(megabytes) * 1024 * 1024);
});

test('another build is tried where the answers are wrong, and the last one’s code is kept', async () => {
  const { judged } = await import(pathToFileURL(join(ROOT, 'pkg/engine/wasm.js')).href);
  const judge = (/** @type {string} */ code, /** @type {string} */ message, isLast = false, isCramped = false) => {
    const unfit = isLast ? [{ build: 'relaxed-simd', isCramped, why: 'so it is' }] : [];
    const failing = () => Promise.reject(Object.assign(new Error(message), { code }));
    return judged({ build: 'simd128', unfit, isCramped, isLast }, failing).catch((/** @type {unknown} */ error) => error);
  };
  for (const [code, message] of [['golden_mismatch', 'off by 2'], ['inference', 'logits are not finite']]) {
    assert.deepEqual((await judge(code, message)).unfit, { build: 'simd128', isCramped: false });
    const last = await judge(code, message, true);
    assert.deepEqual([last.code, last.message, last.unfit], [code, `${message}; nor did the builds relaxed-simd`, undefined]);
  }
  assert.deepEqual((await judge('out_of_memory', 'refused', false, true)).unfit, { build: 'simd128', isCramped: true });
  for (const [code, message] of [['inference', 'a token id is outside the vocabulary'], ['out_of_memory', 'refused']]) {
    for (const isLast of [false, true]) {
      const error = await judge(code, message, isLast);
      assert.deepEqual([error.code, error.message, error.unfit], [code, message, undefined]);
    }
  }
});

test('groups of a batch grow by the slowest message, and not before every model was asked', async () => {
  const { runBatch } = await import(pathToFileURL(join(ROOT, 'pkg/client/batch.js')).href);
  /** @param {number} stages @param {(index: number) => object} outcome @param {number} count */
  const sizes = async (stages, outcome, count) => {
    /** @type {number[]} */
    const groups = [];
    let done = 0;
    const ask = async (/** @type {string[]} */ group) => {
      groups.push(group.length);
      return group.map(() => outcome(done++));
    };
    await runBatch(Array.from({ length: count }, () => 'x'), stages, ask, undefined);
    return groups;
  };
  const took = (/** @type {number} */ ms, asked = 1) => ({ result: { ms, probabilities: {}, ...(asked > 1 && { stages: [{}, {}] }) } });
  const unread = { error: { code: 'empty_message', message: 'empty' } };
  const tooLong = { result: { ms: 0, probabilities: null } };
  assert.deepEqual(await sizes(1, () => took(1), 100), [4, 8, 16, 32, 32, 8]);
  assert.deepEqual(await sizes(1, (index) => took(index === 9 ? 10 : 1), 50), [4, 8, 10, 10, 10, 8]);
  assert.deepEqual(await sizes(1, (index) => [unread, tooLong][index % 2], 12), [4, 4, 4]);
  assert.deepEqual(await sizes(1, (index) => (index < 4 ? unread : took(300)), 12), [4, 4, 4]);
  assert.deepEqual(await sizes(2, (index) => took(1, index === 9 ? 2 : 1), 28), [4, 4, 4, 8, 8]);
});

test('what is no finite number is called so by the engine too', async () => {
  const said = /const NOT_FINITE = '(.*)';/.exec(readFileSync(join(ROOT, 'pkg/engine/wasm.js'), 'utf8'))?.[1];
  assert.ok(said && readFileSync(join(ROOT, 'src/scoring.rs'), 'utf8').includes(`Inference("${said}"`), said);
});

test('the package’s README explains every code in the table’s words', async () => {
  const { ERROR_CODES } = await import('../../../pkg/index.js');
  const readme = readFileSync(join(ROOT, 'pkg/README.md'), 'utf8');
  for (const [code, meaning] of Object.entries(ERROR_CODES)) {
    assert.ok(readme.includes(`| \`${code}\` | ${meaning} |`), `row of ${code}`);
  }
});

test('package.json lists every file that the package is made of', () => {
  const { files } = JSON.parse(readFileSync(join(ROOT, 'pkg/package.json'), 'utf8'));
  const present = readdirSync(join(ROOT, 'pkg'), { withFileTypes: true }).map((entry) => entry.name + (entry.isDirectory() ? '/' : ''));
  const unlisted = present.filter((name) => name !== 'package.json' && !files.includes(name));
  assert.deepEqual(unlisted, []);
});

test('the page asks for all of its modules at once', () => {
  const html = readFileSync(join(ROOT, 'www/index.html'), 'utf8');
  const links = Array.from(html.matchAll(/<link rel="modulepreload" href="([^"]+)">/g), (match) => match[1]);
  const named = links.map((href) => (href.startsWith('/') ? href.slice(1) : posix.join('www', href)));
  assert.deepEqual(named.toSorted(), [...allImportsOf('www/main.js')].toSorted());
});

test('the Worker asks for all of its modules at once', () => {
  const all = allImportsOf('pkg/worker.js');
  assert.ok(all.has('pkg/engine/builds.js'), 'imports are found');
  assert.deepEqual(importsOf('pkg/worker.js').toSorted(), [...all].toSorted());
});
