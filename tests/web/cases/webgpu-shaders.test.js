/** Every shader against its definition (tests/gpu_suite), in Chromium on a GPU in software. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before } from 'node:test';
import { gpuTest } from '../lib/gpu-test.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

const web = suite({ gpu: true });
const BUILT = join(ROOT, 'tests/web/wasm-kernels/webgpu');
const TYPES = /** @type {Record<string, string>} */ ({ js: 'text/javascript', wasm: 'application/wasm' });
/** As tests/gpu_suite lists them. */
const CHECKS = [
  'products_are_their_formats',
  'the_smallest_scales_count',
  'low_rank_paths_are_two_products',
  'norms',
  'single_values',
  'values_beyond_a_line_of_workgroups',
  'rotation',
  'attention_over_a_cache',
  'a_cache_keeps_what_it_holds',
  'what_cannot_be_taken_over_is_refused',
];
const LIMIT_MS = 600_000;

before(() => assert.ok(existsSync(BUILT), `${BUILT} is missing: build it with \`cargo xtask build-web-tests\``));

/**
 * Runs in the page.
 *
 * @param {string | null} name Of a check; nothing for their names.
 * @returns {Promise<{ names: string[], adapter: string | undefined, failed: string | null }>}
 */
async function run(name) {
  const module = '/shader-tests/relayops_wasm_tests.js';
  const suite = await import(module);
  await suite.default({ module_or_path: module.replace('.js', '_bg.wasm') });
  if (name === null) return { names: suite.shader_checks(), adapter: undefined, failed: null };
  // One that fails never resolves.
  const failure = new Promise((resolve) => addEventListener('error', ({ message }) => resolve({ names: [], adapter: undefined, failed: message })));
  const passed = suite.run_shader_check(name).then((/** @type {string | undefined} */ adapter) => ({ names: [], adapter, failed: null }));
  return /** @type {ReturnType<typeof run>} */ (Promise.race([passed, failure]));
}

/** @param {(ask: (name: string | null) => ReturnType<typeof run>, complaints: string[]) => Promise<void>} body */
function withSuite(body) {
  return web.withPage(
    ({ page, complaints }) => body((name) => page.evaluate(run, name), complaints),
    (context) =>
      context.route('**/shader-tests/*', (route) => {
        const name = new URL(route.request().url()).pathname.split('/').at(-1) ?? '';
        const contentType = TYPES[name.split('.').at(-1) ?? ''];
        return route.fulfill({ body: readFileSync(join(BUILT, name)), contentType, headers: { 'cross-origin-resource-policy': 'same-origin' } });
      }),
  );
}

gpuTest('no check of a shader is left out', () => withSuite(async (ask) => assert.deepEqual((await ask(null)).names, CHECKS)));

for (const name of CHECKS) {
  gpuTest(
    `${name}, in Chromium`,
    () =>
      withSuite(async (ask, complaints) => {
        const { adapter, failed } = await ask(name);
        assert.equal(failed, null, complaints.join('\n'));
        assert.match(adapter ?? '', /\(BrowserWebGpu, /);
        assert.deepEqual(complaints, []);
      }),
    { timeout: LIMIT_MS },
  );
}
