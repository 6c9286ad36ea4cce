/**
 * Checks of the `escalation` option.
 *
 * @module
 */

import { checkOptions } from '../client/arguments.js';
import { absoluteUrl, isTagged } from '../client/pack-source.js';
import { IntentError } from '../errors.js';

/** @typedef {import('./types.js').EscalationOptions} EscalationOptions */

/** @typedef {Omit<EscalationOptions, 'url' | 'maxAgeMs'> & { url: string, maxAgeMs: number }} EscalationSettings */

const OPTIONS = /** @type {const} */ (['url', 'token', 'redact', 'maxAgeMs']);

/** How long a text waits at the most unless told otherwise: over a weekend. */
const AGE_MS = 72 * 60 * 60_000;

/** Longest that it may be told to wait, 28 days: a server knows a message’s key for 30, and would store it twice after that. */
const MAX_AGE_MS = 28 * 24 * 60 * 60_000;

/**
 * @param {unknown} value
 * @returns {EscalationSettings | null} `null` for off.
 * @throws {IntentError} `invalid_argument`
 */
export function checkEscalation(value) {
  if (value === undefined || value === 'off') return null;
  if (typeof value !== 'object') throw invalid('escalation', "expected 'off' or an object");
  const given = checkOptions(value, OPTIONS, 'escalation');
  const { token, redact, maxAgeMs = AGE_MS } = given;
  if (token !== undefined && typeof token !== 'function' && !(typeof token === 'string' && /^[\x21-\x7e]+$/.test(token))) {
    throw invalid('escalation.token', 'expected a function, or a string of visible ASCII characters');
  }
  if (redact !== undefined && typeof redact !== 'function') throw invalid('escalation.redact', 'expected a function');
  if (typeof maxAgeMs !== 'number' || !(maxAgeMs > 0 && maxAgeMs <= MAX_AGE_MS)) {
    throw invalid('escalation.maxAgeMs', 'expected milliseconds, more than 0 and at most 28 days');
  }
  return /** @type {EscalationSettings} */ ({ url: urlOf(given.url), token, redact, maxAgeMs });
}

/** @param {unknown} value */
function urlOf(value) {
  if (typeof value !== 'string' && !isTagged(value, 'URL')) throw invalid('escalation.url', 'expected a URL');
  const url = absoluteUrl(String(value), 'escalation.url');
  if (!/^https?:$/.test(url.protocol)) throw invalid('escalation.url', 'expected http or https');
  if (url.username || url.password) throw invalid('escalation.url', 'must not hold a name or password: use token');
  url.hash = '';
  return url.href;
}

/**
 * @param {string} name
 * @param {string} detail
 */
function invalid(name, detail) {
  return new IntentError('invalid_argument', `${name}: ${detail}`);
}
