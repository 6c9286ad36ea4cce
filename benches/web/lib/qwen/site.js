/** Where the page finds what it loads. */

import { basename, join } from 'node:path';
import { ROOT } from '../../../../tests/web/lib/paths.js';
import { HERE, required } from '../paths.js';

/**
 * @typedef {object} Models Paths; `null` for what is left out.
 * @property {string | null} pack Folder of the pack.
 * @property {string | null} small The base with 0.5B parameters.
 * @property {string | null} large The base with 1.5B parameters.
 * @property {string | null} modules Folder of the instrumented modules.
 */

/** The package, as it is and as a browser without relaxed SIMD has it. */
export const PACKAGES = { 'relaxed-simd': '/pkg', simd128: '/simd128/pkg' };

/** @param {string} path @returns {string} Address of a model's file. */
export const modelUrl = (path) => `/models/${encodeURIComponent(basename(path))}`;

/** Address of the pack's manifest. */
export const PACK_URL = '/pack/pack.json';

/**
 * @param {Models} models
 * @returns {[prefix: string, path: string][]}
 */
export function routes({ pack, small, large, modules }) {
  const [pkg, vendor] = [join(ROOT, 'pkg'), join(HERE, 'node_modules')];
  /** @type {[string, string][]} */
  const all = [
    ['/pkg/', pkg],
    // A package that has nothing faster in the places of the faster builds.
    ['/simd128/pkg/wasm/relaxed-simd/', join(pkg, 'wasm/simd128')],
    ['/simd128/pkg/wasm/relaxed-simd-threads/', join(pkg, 'wasm/simd128-threads')],
    ['/simd128/pkg/', pkg],
    ['/vendor/wllama/', join(vendor, '@wllama/wllama/esm')],
  ];
  if (modules !== null) all.push(['/instrumented/wasm/', required(modules)], ['/instrumented/', pkg]);
  for (const file of [small, large]) if (file !== null) all.push([modelUrl(file), required(file)]);
  if (pack !== null) all.push(['/pack/', required(pack)]);
  return [...all, ['/', join(HERE, 'page')]];
}
