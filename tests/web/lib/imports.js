/** Which modules import which, read from their sources. */

import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { ROOT } from './paths.js';

const STATIC_IMPORT = /^(?:import|export)\s(?:[^;'"]*\sfrom\s)?'([^']+)';$/gm;

/**
 * @param {string} module Path from the checkout's root, with forward slashes.
 * @returns {string[]} Paths of what it imports itself. An address that starts with a slash is the server's.
 */
export function importsOf(module) {
  const specifiers = Array.from(readFileSync(join(ROOT, module), 'utf8').matchAll(STATIC_IMPORT), (match) => match[1]);
  return specifiers.map((to) => (to.startsWith('/') ? to.slice(1) : posix.join(posix.dirname(module), to)));
}

/**
 * @param {string} module
 * @returns {Set<string>} Paths of all that is loaded with it, without itself.
 */
export function allImportsOf(module) {
  const found = new Set(importsOf(module));
  for (const one of found) for (const next of importsOf(one)) found.add(next);
  found.delete(module);
  return found;
}
