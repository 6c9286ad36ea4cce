/** What can be said of the package without a browser. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { allImportsOf, importsOf } from '../lib/imports.js';
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
