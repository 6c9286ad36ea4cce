/**
 * Engines with large models, by name, as the driver asks for them.
 *
 * @module
 */

import { loadModule } from './engines/module.js';
import { loadOursLarge } from './engines/ours-large.js';
import { loadWllama } from './engines/wllama.js';

export { kernelRates } from './engines/module.js';

/** @typedef {import('./engines/large.js').Input} Input */
/** @typedef {import('./engines/large.js').LargeChoice} LargeChoice */
/** @typedef {import('./engines/large.js').LargeEngine} LargeEngine */
/** @typedef {import('./engines/large.js').Sample} Sample */
/** @typedef {import('./engines/large.js').Task} Task */

/** @type {Map<string, LargeEngine>} */
const engines = new Map();

/**
 * @param {string} name
 * @param {LargeChoice} choice
 * @returns {Promise<Record<string, unknown>>} How it runs, and how long loading took.
 */
export async function load(name, choice) {
  if (!crossOriginIsolated) throw new Error('the page is not cross-origin isolated');
  const start = performance.now();
  const engine = await started(choice);
  engines.set(name, engine);
  return { ...engine.about, load_ms: performance.now() - start };
}

/**
 * @param {LargeChoice} choice
 * @returns {Promise<LargeEngine>}
 */
function started(choice) {
  switch (choice.kind) {
    case 'ours':
      return loadOursLarge(choice);
    case 'module':
      return loadModule(choice);
    case 'wllama':
      return loadWllama(choice);
  }
}

/**
 * @param {string} name
 * @param {Task} task
 * @param {Input} input
 * @returns {Promise<Sample>}
 */
export async function ask(name, task, input) {
  const run = engines.get(name)?.tasks[task];
  if (!run) throw new Error(`${name} does not do ${task}`);
  return run(input);
}

/** Ends all. */
export async function free() {
  for (const engine of engines.values()) await engine.free();
  engines.clear();
}
