/** What was measured, on what. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { arch, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../../tests/web/lib/paths.js';
import { HERE } from './paths.js';

/** @typedef {{ bytes: number, sha256: string }} FileFacts */

const BUILDS = ['simd128', 'relaxed-simd', 'simd128-threads', 'relaxed-simd-threads'];

/**
 * @param {string} path
 * @returns {FileFacts}
 */
export function describeFile(path) {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(1 << 22);
    for (let count = readSync(file, chunk); count > 0; count = readSync(file, chunk)) hash.update(chunk.subarray(0, count));
  } finally {
    closeSync(file);
  }
  return { bytes: statSync(path).size, sha256: hash.digest('hex') };
}

/** @param {string} path @returns {string} The version in a package.json. */
function packageVersion(path) {
  return JSON.parse(readFileSync(path, 'utf8')).version;
}

/** @returns {string | null} The commit, marked where files differ from it; `null` outside a repository. */
function commit() {
  try {
    const args = ['describe', '--always', '--dirty', '--abbrev=12', '--exclude=*'];
    return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return null;
  }
}

/**
 * @param {string} chromium
 * @param {Record<string, string> | null} python Versions of the packages that exported the peer, if there is one.
 */
export function versions(chromium, python) {
  const installed = (/** @type {string} */ name) => packageVersion(join(HERE, 'node_modules', name, 'package.json'));
  return {
    'relayops-intent': packageVersion(join(ROOT, 'pkg/package.json')),
    commit: commit(),
    wasm: Object.fromEntries(BUILDS.map((build) => [build, describeFile(join(ROOT, 'pkg/wasm', build, 'relayops_intent_bg.wasm'))])),
    chromium,
    node: process.versions.node,
    'onnxruntime-web': installed('onnxruntime-web'),
    '@huggingface/tokenizers': installed('@huggingface/tokenizers'),
    '@wllama/wllama': installed('@wllama/wllama'),
    'node-llama-cpp': installed('node-llama-cpp'),
    python,
  };
}

export function machine() {
  const all = cpus();
  return {
    cpu: all[0]?.model ?? 'unknown',
    cores: all.length,
    memory_bytes: totalmem(),
    platform: `${platform()} ${release()} ${arch()}`,
  };
}

/** @returns {number} Mean number of runnable processes in the last minute. */
export const load = () => loadavg()[0];
