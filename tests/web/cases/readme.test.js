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

test('names of options, parts, properties and entries in the README are those of the code', () => {
  const element = ['element/style.js', 'element/view.js'].map((file) => readFileSync(join(ROOT, 'pkg', file), 'utf8')).join('\n');
  for (const name of README.match(/--relayops-[a-z]+/g) ?? []) assert.ok(element.includes(`var(${name},`), name);
  for (const [, name] of element.matchAll(/var\((--relayops-[a-z]+),/g)) assert.ok(README.includes(`\`${name}\``), name);
  const { exports } = JSON.parse(readFileSync(join(ROOT, 'pkg/package.json'), 'utf8'));
  for (const [, entry] of README.matchAll(/'relayops-intent(\/[a-z]+)?'/g)) assert.ok(Object.hasOwn(exports, entry ? `.${entry}` : '.'), entry);
});
