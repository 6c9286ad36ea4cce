/**
 * From a message and its result to what is sent.
 *
 * @module
 */

import { limited } from './limit.js';
import { redact } from './redact.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('./types.js').EscalationBody} EscalationBody */
/** @typedef {import('./types.js').Redact} Redact */

/** Longest text that the server takes, in characters. */
const MAX_TEXT_CHARS = 8_000;

/** Longest text that is redacted, in UTF-16 units: so much more that no cut number can move to the front. */
const MAX_REDACTED_UNITS = 200_000;

/** Longest that a hook may take, in milliseconds. */
const HOOK_MS = 10_000;

/** Limits of the server’s schema. */
const MAX_NAME_CHARS = 64;
const MAX_REASON_CHARS = 128;
const MAX_LABELS = 64;
const MAX_REDACTIONS = 16;

/** What is sent in place of a text that could not be redacted. */
export const WITHHELD = '[message withheld: its redaction failed]';

/**
 * @param {string} text
 * @param {ClassifyResult} result
 * @param {number} createdMs
 * @param {Redact} [hook]
 * @returns {Promise<EscalationBody>}
 */
export async function bodyOf(text, result, createdMs, hook = redact) {
  const clear = toWellFormed(text.trim());
  const redacted = await redactSafely(clear.slice(0, MAX_REDACTED_UNITS), hook);
  const characters = Array.from(redacted.text);
  const { confidence, probabilities } = result;
  return {
    text: characters.slice(0, MAX_TEXT_CHARS).join('') || WITHHELD,
    intent: nameOf(result.intent, MAX_NAME_CHARS),
    reason: nameOf(result.decision.reason, MAX_REASON_CHARS),
    stage: nameOf(result.stage, MAX_NAME_CHARS),
    confidence: confidence === null ? null : shareOf(confidence),
    probabilities: probabilities === null ? null : sharesOf(probabilities),
    redactions: redacted.redactions.slice(0, MAX_REDACTIONS).map((kind) => nameOf(kind, MAX_NAME_CHARS)),
    truncated: characters.length > MAX_TEXT_CHARS || clear.length > MAX_REDACTED_UNITS,
    created_ms: createdMs,
  };
}

/**
 * @param {string} text
 * @param {Redact} hook
 * @returns {Promise<import('./types.js').Redacted>} Never the text as it was, where the hook fails or gives no answer.
 */
async function redactSafely(text, hook) {
  try {
    const redacted = await limited(hook(text), HOOK_MS);
    const sound = typeof redacted?.text === 'string' && Array.isArray(redacted.redactions);
    if (sound) return { text: toWellFormed(redacted.text), redactions: redacted.redactions.map(String) };
  } catch {
    // The hook’s error may quote the message.
  }
  return { text: WITHHELD, redactions: ['withheld'] };
}

/** Half of a surrogate pair has no UTF-8. @param {string} text */
function toWellFormed(text) {
  return text.replace(/\p{Cs}/gu, '\ufffd');
}

/**
 * @param {string} text
 * @param {number} max
 */
function nameOf(text, max) {
  const plain = Array.from(toWellFormed(text).replace(/[\u0000-\u001f\u007f]/g, ' '));
  return plain.slice(0, max).join('') || 'none';
}

/** Rounding may lead out of 0 to 1. @param {number} share */
function shareOf(share) {
  return Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
}

/** @param {Record<string, number>} shares */
function sharesOf(shares) {
  const entries = Object.entries(shares).slice(0, MAX_LABELS);
  return Object.fromEntries(entries.map(([label, share]) => [nameOf(label, MAX_NAME_CHARS), shareOf(share)]));
}
