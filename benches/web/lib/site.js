/** The site of the benchmark: page, package, peers and models in one folder, for the project's own server. */

import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ROOT } from '../../../tests/web/lib/paths.js';
import { HERE, PEER_FILES, VENDOR, required } from './paths.js';
import { PACKAGES } from './qwen/site.js';

/**
 * Copies instead of links: the server hands out nothing from outside its folders.
 *
 * @param {string} site Folder that is written anew.
 * @param {string} peer Folder that export_onnx.py wrote.
 * @param {string} [pack] Model file to serve for ours.
 * @returns {string | undefined} Address of the pack, if there is one.
 */
export function makeSite(site, peer, pack) {
  rmSync(site, { recursive: true, force: true });
  const www = join(site, 'www');
  cpSync(join(HERE, 'page'), www, { recursive: true });
  cpSync(join(ROOT, 'www/icon.svg'), join(www, 'icon.svg'));
  cpSync(join(ROOT, 'pkg'), join(site, 'pkg'), { recursive: true });
  // As a browser without relaxed SIMD has it: nothing faster in the places of the faster builds.
  const plain = join(www, PACKAGES.simd128);
  cpSync(join(ROOT, 'pkg'), plain, { recursive: true });
  for (const threads of ['', '-threads']) {
    cpSync(join(ROOT, `pkg/wasm/simd128${threads}`), join(plain, `wasm/relaxed-simd${threads}`), { recursive: true });
  }
  for (const [from, to] of VENDOR) copy(join(HERE, 'node_modules', from), join(www, 'vendor', to));
  for (const name of PEER_FILES) copy(join(peer, name), join(www, 'peer', name));
  if (pack === undefined) return undefined;
  copy(pack, join(www, 'pack', basename(pack)));
  return `/pack/${encodeURIComponent(basename(pack))}`;
}

/**
 * @param {string} from
 * @param {string} to
 */
function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(required(from), to);
}
