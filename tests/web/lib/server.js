/** The server under test: the native binary. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ROOT, binary, requireWasm } from './paths.js';

/** Longest that the server may take to listen, in milliseconds. */
const START_MS = 20_000;

/**
 * @param {object} [options]
 * @param {string} [options.models] Folder of models that it offers.
 * @param {string} [options.root] Folder with `www/` and `pkg/`; the checkout if omitted.
 * @returns {Promise<{ origin: string, stop: () => Promise<void> }>}
 */
export async function startServer({ models, root = ROOT } = {}) {
  requireWasm();
  const args = ['serve', '--port', '0', '--root', root];
  if (models !== undefined) args.push('--models', models);
  const child = spawn(binary(), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill();
    await exited;
  };
  try {
    return { origin: await address(child), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * @param {import('node:child_process').ChildProcessByStdio<null, import('node:stream').Readable, null>} child
 * @returns {Promise<string>} Origin, without a slash at its end.
 */
function address(child) {
  return new Promise((resolve, reject) => {
    const fail = (/** @type {Error} */ error) => (clearTimeout(timer), reject(error));
    const timer = setTimeout(() => fail(new Error(`the server did not listen within ${START_MS} ms`)), START_MS);
    child.once('error', fail);
    child.once('exit', (code) => fail(new Error(`the server exited with ${code} before it listened`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const match = /^listening on (http:\/\/127\.0\.0\.1:\d+)\/$/.exec(line);
      if (!match) return;
      clearTimeout(timer);
      resolve(match[1]);
    });
  });
}
