/** The tarball, as an application gets it: in a plain page, through two bundlers, and in Node. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { build } from 'vite';
import webpack from 'webpack';
import { complaintsOf, installHelpers, launch } from '../lib/browser.js';
import { ROOT } from '../lib/paths.js';
import { ISOLATED, POLICY, startStatic } from '../lib/static-server.js';
import { packTarball } from '../lib/tarball.js';

/**
 * Most bytes, by the profile of the build: that of tests keeps checks and names. `cargo xtask build-web` holds what it
 * has built to the same table.
 *
 * @type {Record<string, { tarball: number, module: number, script: number }>}
 */
const BUDGETS = JSON.parse(readFileSync(join(ROOT, 'xtask/budgets.json'), 'utf8'));

/** @type {import('../lib/tarball.js').Packed} */
let packed;
/** @type {import('../lib/browser.js').Browser} */
let browser;

before(async () => {
  packed = packTarball();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  packed?.remove();
});

const DONE = 'reset device, greeting';

/** What the applications do: the class, and the element. */
const MAIN = `
import { IntentClassifier } from 'relayops-intent';
import 'relayops-intent/element';
const classifier = await IntentClassifier.load({ threads: 2 });
const { intent } = await classifier.classify('my internet is down');
const { backend, threads, reason } = await classifier.info();
document.body.dataset.ran = JSON.stringify({ backend, threads, reason });
document.addEventListener('intent', ({ detail }) => {
  document.title = intent.replace('_', ' ') + ', ' + detail.result.intent;
});
const element = document.querySelector('relayops-intent');
element.classifier = classifier;
const input = document.querySelector('input');
input.value = 'hello there';
input.dispatchEvent(new Event('input'));
`;

/** The same without anybody who resolves names. */
const PLAIN = MAIN.replace("from 'relayops-intent'", "from '/relayops/index.js'").replace("'relayops-intent/element'", "'/relayops/element.js'");

const BODY = '<!doctype html><html lang="en"><title>starting</title><input id="message"><relayops-intent for="message"></relayops-intent>';

/**
 * Serves `folders`, opens `path` and waits until the application is done.
 *
 * @param {Record<string, string>} folders
 * @param {object} [options]
 * @param {Record<string, string>} [options.files]
 * @param {Record<string, string>} [options.headers]
 * @param {boolean} [options.isolated]
 */
async function visit(folders, { files = {}, headers = {}, isolated = false } = {}) {
  const server = await startStatic(folders, { headers: { 'content-security-policy': POLICY, ...(isolated && ISOLATED), ...headers } });
  for (const [path, text] of Object.entries({ '/favicon.ico': '', ...files })) server.files.set(path, text);
  const context = await browser.newContext();
  const complaints = complaintsOf(context);
  await context.addInitScript(installHelpers);
  try {
    const page = await context.newPage();
    await page.goto(`${server.origin}/`);
    await page.waitForFunction((done) => document.title === done, DONE, { timeout: 40_000 }).catch((error) => {
      throw new Error(`${error.message}: ${complaints.join('; ')}`);
    });
    assert.equal(await page.evaluate(() => crossOriginIsolated), isolated);
    // Isolated, the package's thread.js runs too, from wherever the bundler put it.
    const threads = isolated ? 2 : 1;
    const reason = isolated ? null : 'no threads: the page is not cross-origin isolated';
    const ran = await page.evaluate(() => JSON.parse(document.body.dataset.ran ?? 'null'));
    assert.deepEqual(ran, { backend: 'cpu-relaxed-simd', threads, reason });
    assert.equal(page.workers().length, threads);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
    await server.stop();
  }
}

for (const isolated of [false, true]) {
  test(`a plain page, ${isolated ? 'isolated from other origins' : 'not isolated'}, under a strict policy`, async () => {
    const app = packed.app(`plain-${isolated}`, {});
    const files = { '/': `${BODY}<script type="module" src="/main.js"></script>`, '/main.js': PLAIN };
    await visit({ '/relayops/': join(app, 'node_modules/relayops-intent') }, { files, isolated });
  });
}

test('inside a frame of another origin', async () => {
  const app = packed.app('frame', {});
  const folder = join(app, 'node_modules/relayops-intent');
  const inner = await startStatic({ '/relayops/': folder }, { headers: { 'content-security-policy': POLICY } });
  const outer = await startStatic({});
  // 127.0.0.1 and localhost are two sites, not just two origins.
  const address = inner.origin.replace('127.0.0.1', 'localhost');
  inner.files.set('/', `${BODY}<script type="module" src="/main.js"></script>`);
  inner.files.set('/main.js', `${PLAIN}\nconst again = await IntentClassifier.load({ pack: '/relayops/models/compact/' }); document.body.dataset.again = (await again.classify('hi')).intent;`);
  outer.files.set('/', `<!doctype html><title>outer</title><iframe src="${address}/"></iframe>`);
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(`${outer.origin}/`);
    const frame = page.frames().find((one) => one.url().startsWith(address));
    assert.ok(frame);
    await frame.waitForFunction((done) => document.title === done && document.body.dataset.again === 'greeting', DONE, { timeout: 40_000 });
    assert.equal(await frame.evaluate(() => window.origin !== location.ancestorOrigins[0]), true);
  } finally {
    await context.close();
    await Promise.all([inner.stop(), outer.stop()]);
  }
});

test('a Vite build, isolated from other origins and not', async () => {
  const app = packed.app('vite', { 'index.html': `${BODY}<script type="module" src="/main.js"></script>`, 'main.js': MAIN });
  await build({ root: app, configFile: false, logLevel: 'error' });
  const files = { '/': readFileSync(join(app, 'dist/index.html'), 'utf8') };
  for (const isolated of [false, true]) await visit({ '/': join(app, 'dist') }, { files, isolated });
});

test('a Vite build of the README’s React recipe', async () => {
  const recipe = block('jsx', 'React');
  const main = `
    import { createElement } from 'react';
    import { createRoot } from 'react-dom/client';
    import { MessageBox } from './MessageBox.jsx';
    const onIntent = (detail) => { document.title = 'react ' + detail.result.intent; };
    createRoot(document.querySelector('#root')).render(createElement(MessageBox, { onIntent }));`;
  const app = packed.app('react', {
    'index.html': '<!doctype html><html lang="en"><title>starting</title><div id="root"></div><script type="module" src="/main.js"></script>',
    'main.js': main,
    'MessageBox.jsx': recipe,
  });
  const require = createRequire(import.meta.url);
  const alias = Object.fromEntries(['react', 'react-dom'].map((name) => [name, join(require.resolve(`${name}/package.json`), '..')]));
  await build({ root: app, configFile: false, logLevel: 'error', resolve: { alias } });
  const server = await startStatic({ '/': join(app, 'dist') }, { headers: { 'content-security-policy': POLICY } });
  server.files.set('/', readFileSync(join(app, 'dist/index.html'), 'utf8'));
  server.files.set('/favicon.ico', '');
  const context = await browser.newContext();
  const complaints = complaintsOf(context);
  try {
    const page = await context.newPage();
    await page.goto(`${server.origin}/`);
    await page.fill('textarea', 'why was I charged twice');
    await page.waitForFunction(() => document.title === 'react billing');
    assert.equal(await page.locator('relayops-intent [part=intent]').textContent(), 'billing');
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
    await server.stop();
  }
});

test('a webpack build, isolated from other origins and not', async () => {
  const app = packed.app('webpack', { 'main.js': MAIN });
  /** @type {import('webpack').Configuration} */
  const config = { mode: 'production', context: app, entry: './main.js', output: { path: join(app, 'dist') }, performance: { hints: false } };
  const stats = await new Promise((resolve, reject) => void webpack(config, (error, stats) => (error ? reject(error) : resolve(stats))));
  assert.equal(stats.toString({ all: false, errors: true, warnings: true }), '');
  const files = { '/': `${BODY}<script src="/main.js"></script>` };
  for (const isolated of [false, true]) await visit({ '/': join(app, 'dist') }, { files, isolated });
});

test('Node classifies, and ends by itself', () => {
  const weights = pathToFileURL(join(ROOT, 'pkg/models/compact/')).href;
  const script = `
    import { IntentClassifier, IntentError } from 'relayops-intent';
    import * as cache from 'relayops-intent/cache';
    import { RelayopsIntentElement } from 'relayops-intent/element';
    import { enableOffline } from 'relayops-intent/offline';
    const classifier = await IntentClassifier.load();
    const one = await classifier.classify('my internet is down');
    const many = await classifier.classifyBatch(['hello there', '']);
    const file = await IntentClassifier.load({ pack: '${weights}' });
    const same = await file.classify('my internet is down');
    const bytes = await IntentClassifier.load({ pack: '${weights}nowhere/' }).catch((error) => error);
    console.log(JSON.stringify({
      intents: [one.intent, many[0].value.intent, same.intent],
      codes: [many[1].reason.code, bytes.code],
      typed: bytes instanceof IntentError,
      cached: await cache.list(),
      element: typeof RelayopsIntentElement,
      offline: await enableOffline('/sw.js').catch((error) => error.code),
    }));`;
  const app = packed.app('node', { 'main.js': script });
  const output = execFileSync(process.execPath, ['main.js'], { cwd: app, encoding: 'utf8', timeout: 40_000 });
  assert.deepEqual(JSON.parse(output), {
    intents: ['reset_device', 'greeting', 'reset_device'],
    codes: ['empty_message', 'network'],
    typed: true,
    cached: [],
    element: 'function',
    offline: 'unavailable',
  });
});

for (const resolution of ['nodenext', 'bundler']) {
  test(`the declarations serve a strict TypeScript project (${resolution})`, () => {
    const source = `
      import { ERROR_CODES, IntentClassifier, IntentError } from 'relayops-intent';
      import type { ClassifyResult, LoadProgress, ModelInfo, ProvisionalResult, Session } from 'relayops-intent';
      import * as cache from 'relayops-intent/cache';
      import { RelayopsIntentElement, type IntentDetail } from 'relayops-intent/element';
      import { enableOffline } from 'relayops-intent/offline';
      const classifier: IntentClassifier = await IntentClassifier.load({ cache: 'persist', onProgress: (step: LoadProgress) => console.log(step.cache?.bytes) });
      const result: ClassifyResult = await classifier.classify('hi', { signal: new AbortController().signal });
      const settled = await classifier.classifyBatch(['a'], { onProgress: ({ done, total }) => console.log(done / total) });
      for (const one of settled) if (one.status === 'fulfilled') console.log(one.value.intent);
      const typing: Session = classifier.session({ threshold: 0.5 });
      const soFar: ProvisionalResult = await typing.update('h');
      const info: ModelInfo = await classifier.info();
      const removed: boolean = await cache.delete((await cache.list())[0].id);
      const element = new RelayopsIntentElement();
      element.classifier = classifier;
      element.addEventListener('intent', (event) => console.log((event as CustomEvent<IntentDetail>).detail.text));
      await enableOffline('/sw.js');
      console.log(result.decision.route === 'local', soFar.provisional, info.labels, removed, new IntentError('io', 'x').code in ERROR_CODES);
      // @ts-expect-error there is no such option
      await IntentClassifier.load({ model: 'x' });
      // @ts-expect-error a text is a string
      await classifier.classify(7);
    `;
    const options = { module: resolution === 'bundler' ? 'esnext' : 'nodenext', moduleResolution: resolution, target: 'es2022', lib: ['es2022', 'dom'], strict: true, noEmit: true, types: [] };
    const app = packed.app(`types-${resolution}`, { 'main.ts': source, 'tsconfig.json': JSON.stringify({ compilerOptions: options, files: ['main.ts'] }) });
    const tsc = createRequire(import.meta.url).resolve('typescript/package.json').replace('package.json', 'bin/tsc');
    execFileSync(process.execPath, [tsc, '-p', app], { stdio: ['ignore', 'inherit', 'inherit'] });
  });
}

test('tarball and binaries keep to their budgets', async () => {
  const profile = readFileSync(join(ROOT, 'pkg/wasm/simd128/.built-from-sha256'), 'utf8').split(' ')[1];
  const budget = BUDGETS[profile];
  assert.ok(budget, `there is a budget for the profile ${profile}`);
  const sizes = packed.files.filter(({ path }) => path.endsWith('.wasm'));
  const { BUILDS } = await import(pathToFileURL(join(ROOT, 'pkg/engine/builds.js')).href);
  const builds = Object.keys(BUILDS).map((name) => `wasm/${name}/relayops_intent_bg.wasm`);
  assert.deepEqual(sizes.map(({ path }) => path).toSorted(), builds.toSorted(), 'every build that may be started, and no other');
  for (const { path, size } of sizes) assert.ok(size <= budget.module, `${path}: ${size} bytes`);
  for (const { path, size } of packed.files.filter(({ path }) => path.endsWith('.js'))) assert.ok(size <= budget.script, `${path}: ${size} bytes`);
  assert.ok(packed.bytes <= budget.tarball, `${packed.bytes} bytes`);
  console.log(`MEASURED tarball (${profile}): ${packed.bytes} bytes; ${sizes.map(({ path, size }) => `${path} ${size}`).join(', ')}`);
});

test('licences and notices are in the tarball, and nothing that is not needed', () => {
  const paths = packed.files.map(({ path }) => path);
  for (const path of ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'THIRD_PARTY_NOTICES.txt']) assert.ok(paths.includes(path), path);
  const notices = readFileSync(join(ROOT, 'pkg/THIRD_PARTY_NOTICES.txt'), 'utf8');
  for (const text of ['wasm-bindgen 0.', 'wgpu 30.', 'serde 1.', 'Apache License', 'Permission is hereby granted', 'compact: from sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.']) {
    assert.ok(notices.includes(text), text);
  }
  for (const native of ['tokio', 'axum', 'clap', 'wasm-bindgen-cli-support', 'serde_derive']) {
    assert.ok(!notices.includes(`- ${native} `), `${native} is not in the module`);
  }
  assert.deepEqual(paths.filter((path) => /\.br$|\/\.|\.test\.js$|\.map$/.test(path)), []);
  const sources = readdirSync(join(ROOT, 'pkg'), { recursive: true, withFileTypes: true }).filter((entry) => entry.name.endsWith('.js'));
  assert.equal(paths.filter((path) => path.endsWith('.js')).length, sources.length, 'every module is in it');
});

/**
 * The code block after a heading of the package's README.
 *
 * @param {string} language
 * @param {string} heading
 * @returns {string}
 */
function block(language, heading) {
  const readme = readFileSync(join(ROOT, 'pkg/README.md'), 'utf8');
  const section = readme.slice(readme.search(new RegExp(`^#+ ${heading}$`, 'm')));
  const code = new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'm').exec(section)?.[1];
  assert.ok(code, `a block in ${language} under ${heading}`);
  return code;
}
