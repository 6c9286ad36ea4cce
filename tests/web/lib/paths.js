/** Where the tests find what they test. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the checkout. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

const BUILT = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'ci');

/**
 * @param {string} path
 * @param {string} remedy What to do when it is not there.
 * @returns {string} The path, which exists.
 */
function required(path, remedy) {
  if (!existsSync(path)) throw new Error(`${path} is missing: ${remedy}`);
  return path;
}

/** The native binary. */
export function binary() {
  const path = process.env.RELAYOPS_BIN ?? join(BUILT, 'relayops-intent');
  return required(path, 'build it with `cargo build --profile ci`, or set RELAYOPS_BIN');
}

/** The program that writes the tiny model. */
export function tinyModelWriter() {
  const remedy = 'build it with `cargo build --profile ci -p relayops-testkit`, or set RELAYOPS_TINY_MODEL to a tiny model';
  return required(join(BUILT, 'tiny-model'), remedy);
}

export function chromium() {
  const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return required(path, 'install it with `apt-get install chromium`, or set CHROMIUM to a Chromium binary');
}

/** Fails unless the browser's build of the engine is there. */
export function requireWasm() {
  required(join(ROOT, 'pkg/wasm/relaxed-simd-threads/relayops_intent.js'), 'build it with `cargo xtask build-web`');
}
