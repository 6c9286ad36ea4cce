/** The kernel suite of tests/kernel_suite, on every build for the CPU, inside Node’s WebAssembly engine and Chromium’s. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { complaintsOf, launch } from '../lib/browser.js';
import { defined } from '../lib/defined.js';
import { ROOT } from '../lib/paths.js';
import { ISOLATED, POLICY, startStatic } from '../lib/static-server.js';

const BUILT = join(ROOT, 'tests/web/wasm-kernels');

const BUILDS = {
  simd128: ['scalar', 'simd128'],
  'relaxed-simd': ['scalar', 'simd128', 'relaxed-simd'],
  'simd128-threads': ['scalar', 'simd128'],
  'relaxed-simd-threads': ['scalar', 'simd128', 'relaxed-simd'],
};

/** Prints the names of the kernels that ran. */
const RUN = `
  import { readFileSync } from 'node:fs';
  const [module, bytes] = process.argv.slice(1);
  const suite = await import(module);
  suite.initSync({ module: readFileSync(bytes) });
  console.log(suite.kernel_suite());
`;

/** Node 20 has relaxed SIMD behind a switch, which later ones do not know. */
const SWITCHES = Number(process.versions.node.split('.')[0]) < 21 ? ['--experimental-wasm-relaxed-simd'] : [];

/** @type {import('../lib/static-server.js').StaticServer | undefined} */
let server;
/** @type {import('../lib/browser.js').Browser | undefined} */
let browser;

before(async () => {
  server = await startStatic({ '/kernels/': BUILT }, { headers: { 'content-security-policy': POLICY, ...ISOLATED } });
  server.files.set('/', '<!doctype html><title>kernels</title>').set('/favicon.ico', '');
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

for (const [build, kernels] of Object.entries(BUILDS)) {
  test(`every kernel of the build ${build} agrees with its definition in Node`, () => {
    const module = pathToFileURL(join(BUILT, build, 'relayops_wasm_tests.js')).href;
    const bytes = join(BUILT, build, 'relayops_wasm_tests_bg.wasm');
    const said = execFileSync(process.execPath, [...SWITCHES, '--input-type=module', '--eval', RUN, module, bytes], { encoding: 'utf8' });
    assert.deepEqual(said.trim().split(','), kernels);
  });
  test(`every kernel of the build ${build} agrees with its definition in Chromium`, async () => {
    const context = await defined(browser).newContext();
    const complaints = complaintsOf(context);
    try {
      const page = await context.newPage();
      await page.goto(`${defined(server).origin}/`);
      const said = await page.evaluate(async (folder) => {
        const suite = await import(`${folder}relayops_wasm_tests.js`);
        await suite.default({ module_or_path: `${folder}relayops_wasm_tests_bg.wasm` });
        return /** @type {string} */ (suite.kernel_suite());
      }, `/kernels/${build}/`);
      assert.deepEqual(said.split(','), kernels);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  });
}
