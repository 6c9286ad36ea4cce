/** The kernel suite of tests/kernel_suite, inside a WebAssembly engine, on every build: that with WebGPU has those of the first. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../lib/paths.js';

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

for (const [build, kernels] of Object.entries(BUILDS)) {
  test(`every kernel of the build ${build} agrees with the scalar one`, () => {
    const module = pathToFileURL(join(BUILT, build, 'relayops_wasm_tests.js')).href;
    const bytes = join(BUILT, build, 'relayops_wasm_tests_bg.wasm');
    const said = execFileSync(process.execPath, [...SWITCHES, '--input-type=module', '--eval', RUN, module, bytes], { encoding: 'utf8' });
    assert.deepEqual(said.trim().split(','), kernels);
  });
}
