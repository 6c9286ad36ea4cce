/** The package as npm packs it, installed into empty applications. */

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT, requireWasm } from './paths.js';

/**
 * @typedef {object} Packed
 * @property {string} file Path of the tarball.
 * @property {number} bytes
 * @property {{ path: string, size: number }[]} files What is in it.
 * @property {(name: string, files: Record<string, string>) => string} app Makes an application of `files` with the
 *   package installed, and returns its folder.
 * @property {() => void} remove
 */

/** @returns {Packed} */
export function packTarball() {
  requireWasm();
  for (const made of ['models', 'types']) {
    if (!existsSync(join(ROOT, 'pkg', made))) throw new Error(`pkg/${made} is missing: build it with \`cargo xtask build-web\``);
  }
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'relayops-tarball-')));
  const output = npm(['pack', '--json', '--pack-destination', folder], join(ROOT, 'pkg'));
  // Older versions of npm print an array, newer ones an object by name.
  const [about] = Object.values(JSON.parse(output));
  const file = join(folder, about.filename);
  // Once, by npm; applications get copies.
  const first = join(folder, 'installed');
  mkdirSync(first);
  writeFileSync(join(first, 'package.json'), '{ "private": true }');
  npm(['install', '--offline', '--no-save', '--no-audit', '--no-fund', file], first);
  const installed = join(first, 'node_modules');
  return {
    file,
    bytes: about.size,
    files: about.files,
    app: (name, files) => {
      const app = join(folder, name);
      for (const [path, text] of Object.entries({ 'package.json': '{ "private": true, "type": "module" }', ...files })) {
        mkdirSync(dirname(join(app, path)), { recursive: true });
        writeFileSync(join(app, path), text);
      }
      cpSync(installed, join(app, 'node_modules'), { recursive: true });
      return app;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/**
 * @param {string[]} args
 * @param {string} folder
 * @returns {string}
 */
function npm(args, folder) {
  const program = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  return execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
