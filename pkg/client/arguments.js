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
 * @returns {Record<string, unknown>}
 */
export function checkOptions(value, known) {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null) throw invalid('options', 'expected an object');
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(unknown, `no such option; there are ${known.join(', ')}`);
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
 * @returns {number | undefined}
 */
export function checkThreshold(value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw invalid('threshold', 'expected a number from 0 to 1');
  return value;
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
 * @param {unknown} value
 * @returns {((progress: import('../api.js').LoadProgress) => void) | undefined}
 */
export function checkProgress(value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'function') throw invalid('onProgress', 'expected a function');
  return /** @type {(progress: import('../api.js').LoadProgress) => void} */ (value);
}

/**
 * @param {unknown} value
 * @returns {string | undefined} As JSON, which is how the engine reads it.
 */
export function checkConfig(value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('config', 'expected an object');
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw invalid('config', `cannot be written as JSON: ${error}`);
  }
}

/**
 * @param {unknown} value
 * @returns {boolean}
 */
export function checkTokenConfidence(value) {
  if (value !== undefined && typeof value !== 'boolean') throw invalid('tokenConfidence', 'expected a boolean');
  return value === true;
}
