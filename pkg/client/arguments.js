/**
 * Checks of what callers pass. Each error names the argument.
 *
 * @module
 */

import { IntentError } from '../errors.js';

/**
 * @param {string} name
 * @param {string} detail
 * @returns {IntentError}
 */
function invalid(name, detail) {
  return new IntentError('invalid_argument', `${name}: ${detail}`);
}

/**
 * @param {unknown} value
 * @param {readonly string[]} known Names of the options there are: a misspelt one would quietly do nothing.
 * @param {string} [within] Name of the option that holds these; the options themselves if omitted.
 * @returns {Record<string, unknown>}
 */
export function checkOptions(value, known, within) {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null) throw invalid(within ?? 'options', 'expected an object');
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(within ? `${within}.${unknown}` : unknown, `no such option; there are ${known.join(', ')}`);
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {unknown} value
 * @returns {string}
 */
export function checkText(value) {
  if (typeof value !== 'string') throw invalid('text', `expected a string, got ${value === null ? 'null' : typeof value}`);
  return value;
}

/**
 * @param {unknown} value
 * @returns {string[]}
 */
export function checkTexts(value) {
  if (!Array.isArray(value)) throw invalid('texts', 'expected an array of strings');
  const wrong = value.findIndex((text) => typeof text !== 'string');
  if (wrong >= 0) throw invalid(`texts[${wrong}]`, `expected a string, got ${value[wrong] === null ? 'null' : typeof value[wrong]}`);
  return [...value];
}

/**
 * @param {unknown} value
 * @returns {boolean} Whether to load a model again that killed a tab.
 */
export function checkAfterCrash(value) {
  if (value !== undefined && value !== 'compact' && value !== 'retry') throw invalid('afterCrash', 'expected "compact" or "retry"');
  return value === 'retry';
}

/**
 * @param {unknown} value
 * @param {number} stages Of the model.
 * @returns {number[] | undefined} One for each stage, or one for all.
 */
export function checkThreshold(value, stages) {
  if (value === undefined) return undefined;
  const thresholds = Array.isArray(value) ? value : [value];
  const sound = (/** @type {unknown} */ one) => typeof one === 'number' && one >= 0 && one <= 1;
  if (!thresholds.every(sound)) throw invalid('threshold', 'expected a number from 0 to 1, or one for each stage');
  if (Array.isArray(value) && value.length !== stages) {
    throw invalid('threshold', `expected a number or an array of ${stages}, one for each stage`);
  }
  return thresholds;
}

/** Most threads that can be asked for: each is a Worker with a stack of its own. */
const MAX_THREADS = 64;

/**
 * @param {unknown} value
 * @returns {number | 'auto'}
 */
export function checkThreads(value) {
  if (value === undefined || value === 'auto') return 'auto';
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_THREADS) return value;
  throw invalid('threads', `expected 'auto' or a whole number from 1 to ${MAX_THREADS}`);
}

/**
 * @param {unknown} value
 * @returns {import('../api.js').Backend}
 */
export function checkBackend(value) {
  if (value === undefined) return 'cpu';
  if (value === 'auto' || value === 'cpu' || value === 'webgpu') return value;
  throw invalid('backend', "expected 'auto', 'cpu' or 'webgpu'");
}

/**
 * @param {unknown} value
 * @returns {AbortSignal | undefined}
 */
export function checkSignal(value) {
  if (value === undefined || value === null) return undefined;
  if (Object.prototype.toString.call(value) !== '[object AbortSignal]') throw invalid('signal', 'expected an AbortSignal');
  return /** @type {AbortSignal} */ (value);
}

/**
 * @template [T=import('../api.js').LoadProgress]
 * @param {unknown} value
 * @returns {((progress: T) => void) | undefined}
 */
export function checkProgress(value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'function') throw invalid('onProgress', 'expected a function');
  return /** @type {(progress: T) => void} */ (value);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {string | undefined} As JSON, which is how the engine reads it.
 */
export function checkConfig(value, name) {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(name, 'expected an object');
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw invalid(name, `cannot be written as JSON: ${error}`);
  }
}

/**
 * @param {unknown} value
 * @returns {boolean | 'persist'}
 */
export function checkCache(value) {
  if (value !== undefined && value !== 'persist' && typeof value !== 'boolean') throw invalid('cache', 'expected true, false or "persist"');
  return value ?? true;
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {boolean} `false` where it is missing.
 */
export function checkFlag(value, name) {
  if (value !== undefined && typeof value !== 'boolean') throw invalid(name, 'expected a boolean');
  return value === true;
}
