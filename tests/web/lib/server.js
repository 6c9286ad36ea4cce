/** The server under test: the native binary. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT, binary, requireWasm } from './paths.js';

/** Longest that the server may take to listen, in milliseconds. */
const START_MS = 20_000;

/**
 * @typedef {object} ServerOptions
 * @property {string} [models] Folder of models that it offers.
 * @property {string} [root] Folder with `www/` and `pkg/`; the checkout if omitted.
 * @property {number} [port] A free one if omitted.
 * @property {string} [inbox] SQLite file that outlives the server; one that does not if omitted.
 * @property {string[]} [args] Further arguments.
 */

/**
 * @param {ServerOptions} [options]
 * @returns {Promise<{ origin: string, stop: (signal?: NodeJS.Signals) => Promise<void> }>}
 */
export async function startServer({ models, root = ROOT, port = 0, inbox, args = [] } = {}) {
  requireWasm();
  const folder = inbox === undefined ? mkdtempSync(join(tmpdir(), 'relayops-inbox-')) : undefined;
  const file = inbox ?? join(/** @type {string} */ (folder), 'inbox.sqlite3');
  const all = ['serve', '--port', String(port), '--root', root, '--inbox', file, '--log', 'off', ...args];
  if (models !== undefined) all.push('--models', models);
  const child = spawn(binary(), all, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const stop = async (/** @type {NodeJS.Signals} */ signal = 'SIGTERM') => {
    child.kill(signal);
    await exited;
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
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
