/** The kernel suite of tests/kernel_suite, inside a WebAssembly engine. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../lib/paths.js';

const BUILT = join(ROOT, 'tests/web/wasm-kernels');

test('every kernel of the browser build agrees with the scalar one', async () => {
  /** @type {{ initSync(options: { module: BufferSource }): unknown, kernel_suite(): string }} */
  const suite = await import(pathToFileURL(join(BUILT, 'relayops_wasm_tests.js')).href);
  suite.initSync({ module: readFileSync(join(BUILT, 'relayops_wasm_tests_bg.wasm')) });
  assert.deepEqual(suite.kernel_suite().split(','), ['scalar', 'simd128']);
});
