/** The examples of pkg/README.md, run as they are printed: only addresses of modules are put in. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FILES, makeAdapters } from '../lib/adapters.js';
import { ROOT } from '../lib/paths.js';
import { site } from '../lib/site.js';

const web = site();

const README = readFileSync(join(ROOT, 'pkg/README.md'), 'utf8');

/** @param {string} language */
function blocks(language) {
  const fence = new RegExp('^( *)```' + language + '\\n([\\s\\S]*?)^\\1```', 'gm');
  return Array.from(README.matchAll(fence), (match) => match[2]);
}

/** @param {string} code */
function addressed(code) {
  return code
    .replaceAll(/'relayops-intent\/(element|offline)'/g, "'/pkg/$1.js'")
    .replaceAll("'relayops-intent/cache'", "'/pkg/cache/index.js'")
    .replaceAll("'relayops-intent'", "'/pkg/index.js'");
}

/** Puts the small models at the addresses that the examples name. */
function offer() {
  const { files } = web.server;
  const { folder, tiny } = web.models;
  files.set('/models/qwen2.5-0.5b.gguf', readFileSync(tiny));
  const { first } = makeAdapters(join(folder, 'adapters'), tiny);
  for (const file of FILES) files.set(`/adapters/telecom/${file}`, readFileSync(join(first, file)));
  files.set('/sw.js', "importScripts('/pkg/service-worker.js');");
}

test('every example in JavaScript runs', async () => {
  offer();
  const examples = blocks('js');
  assert.ok(examples.length >= 8, `${examples.length} examples`);
  for (const [index, example] of examples.entries()) {
    // Some go on from a classifier that was loaded before.
    const goesOn = !example.includes('IntentClassifier.load(') && /\bclassifier\./.test(example);
    const start = goesOn ? "import { IntentClassifier } from 'relayops-intent'; const classifier = await IntentClassifier.load({ pack: '/models/qwen2.5-0.5b.gguf' });\n" : '';
    const imports = example.includes('IntentClassifier.load(') && !example.includes('import {') ? "import { IntentClassifier } from 'relayops-intent';\n" : '';
    const path = `/example-${index}.js`;
    web.server.files.set(path, addressed(`${start}${imports}${example}\n;`));
    await web.fresh(async ({ page, complaints }) => {
      const outcome = await page.evaluate((path) => window.outcome(import(path)), path).catch((error) => ({ code: 'not even imported', message: String(error) }));
      assert.equal(outcome.code, 'fulfilled', `${outcome.message}: ${complaints}\n${example}`);
      assert.deepEqual(complaints, [], example);
    });
  }
});

test('the example of the element runs', async () => {
  const [example] = blocks('html');
  const script = /<script type="module">([\s\S]*)<\/script>/.exec(example)?.[1] ?? '';
  web.server.files.set('/element-example.js', addressed(script));
  web.server.files.set('/element/', `<!doctype html><title>example</title>${example.replace(/<script[\s\S]*/, '')}<script type="module" src="/element-example.js"></script>`);
  await web.fresh(
    async ({ page, complaints }) => {
      const said = page.waitForEvent('console', (message) => message.text().startsWith('hello there'));
      await page.fill('#message', 'hello there');
      assert.equal((await said).text(), 'hello there greeting local true');
      assert.deepEqual(complaints, []);
    },
    { path: '/element/' },
  );
});

/** @param {string} path Within the package. */
function source(path) {
  return readFileSync(join(ROOT, 'pkg', path), 'utf8');
}

/** Names between backticks. @param {string} text */
function quoted(text) {
  return Array.from(text.matchAll(/`([^`]+)`/g), (match) => match[1]);
}

/**
 * Names of a list in `client/classifier.js`, which may go on from others.
 *
 * @param {string} name
 * @returns {string[]}
 */
function optionsOf(name) {
  const list = new RegExp(`const ${name} = .*\\(\\[(.*)\\]\\);`).exec(source('client/classifier.js'))?.[1];
  assert.ok(list, name);
  return list.split(', ').flatMap((one) => (one.startsWith('...') ? optionsOf(one.slice(3)) : [one.slice(1, -1)]));
}

test('options in the README are those of the code', () => {
  /** @type {[string, string][]} */
  const methods = [
    ['IntentClassifier.load', 'LOAD_OPTIONS'],
    ['classify', 'CLASSIFY_OPTIONS'],
    ['classifyBatch', 'BATCH_OPTIONS'],
    ['session', 'SESSION_OPTIONS'],
    ['setAdapter', 'ADAPTER_OPTIONS'],
    ['info', 'INFO_OPTIONS'],
  ];
  for (const [method, list] of methods) {
    const named = new RegExp(`\\*\\*\`${method}\\((?:\\w+, )?\\{ (.*) \\}\\)\`\\*\\*`).exec(README)?.[1];
    assert.deepEqual(named?.split(', ').toSorted(), optionsOf(list).toSorted(), method);
  }
  const cascade = /`cascade: \{ (.*) \}`/.exec(README)?.[1];
  assert.deepEqual(cascade?.split(', ').toSorted(), optionsOf('MODEL_OPTIONS').toSorted());
});

test('what the README lists of info() is what there is', () => {
  const [, list] = /resolves to what is loaded and how it runs: ([^;]*);/.exec(README) ?? [];
  const [, type] = /@typedef \{object\} ModelInfo\n([\s\S]*?)\*\//.exec(source('api.js')) ?? [];
  const properties = Array.from((type ?? '').matchAll(/@property \{.*\} \[?(\w+)/g), (match) => match[1]);
  // Of a cascade, and named after the list.
  assert.deepEqual(quoted(list).toSorted(), properties.filter((name) => name !== 'stages').toSorted());
});

test('the parts in the README are those of the element', () => {
  const view = source('element/view.js');
  const made = Array.from(view.matchAll(/make\('\w+', '(\w+)'\)/g), (match) => match[1]);
  const mapped = /= \[(.*)\]\.map\(\(part\) => make/.exec(view)?.[1];
  const parts = [...made, ...(mapped ?? '').split(', ').map((name) => name.slice(1, -1))];
  const routes = Array.from(/const ROUTES = \{(.*)\}/.exec(view)?.[1].matchAll(/(\w+): '/g) ?? [], (match) => `route-${match[1]}`);
  const [, list] = /Parts: ([^.]*)\./.exec(README) ?? [];
  // The status is not shown: it is spoken.
  assert.deepEqual(quoted(list).toSorted(), [...parts.filter((name) => name !== 'status'), ...routes].toSorted());
});

test('names of properties and entries in the README are those of the code', () => {
  const element = ['element/style.js', 'element/view.js'].map((file) => readFileSync(join(ROOT, 'pkg', file), 'utf8')).join('\n');
  for (const name of README.match(/--relayops-[a-z]+/g) ?? []) assert.ok(element.includes(`var(${name},`), name);
  for (const [, name] of element.matchAll(/var\((--relayops-[a-z]+),/g)) assert.ok(README.includes(`\`${name}\``), name);
  const { exports } = JSON.parse(readFileSync(join(ROOT, 'pkg/package.json'), 'utf8'));
  for (const [, entry] of README.matchAll(/'relayops-intent(\/[a-z]+)?'/g)) assert.ok(Object.hasOwn(exports, entry ? `.${entry}` : '.'), entry);
});
