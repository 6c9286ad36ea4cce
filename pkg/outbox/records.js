/**
 * What becomes of an item as it is stored.
 *
 * @module
 */

import { MAX_RETRY_AFTER_MS } from './send.js';

/** @typedef {import('./types.js').OutboxItem} OutboxItem */
/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */

/** Most messages of an address that are known as sent: those that went last. */
export const MAX_SENT = 200;

/**
 * @param {OutboxRecord} record
 * @param {Exclude<import('./send.js').Outcome, { kind: 'stopped' }>} outcome
 * @param {boolean} pause Whether all others wait with it.
 * @returns {OutboxRecord}
 */
export function after(record, outcome, pause) {
  // Kept before there were counts of bytes, it has none.
  const done = { ...record, attempts: record.attempts + 1, bytes: (record.bytes ?? 0) + outcome.bytes };
  switch (outcome.kind) {
    case 'sent':
      return { ...done, state: 'sent', id: outcome.id, error: null, body: null, pausedUntilMs: 0 };
    case 'failed':
      return { ...done, state: 'failed', error: outcome.error, pausedUntilMs: 0 };
    case 'retry': {
      // Taken back meanwhile by another page.
      if (record.state !== 'queued') return { ...done, error: record.error };
      const nextMs = Date.now() + outcome.waitMs;
      return { ...done, error: outcome.error, nextMs, pausedUntilMs: pause ? nextMs : 0 };
    }
  }
}

/**
 * @param {OutboxRecord} record That waits.
 * @returns {OutboxRecord} Due at once.
 */
export function hastened(record) {
  return record.nextMs === 0 && record.pausedUntilMs === 0 ? record : { ...record, nextMs: 0, pausedUntilMs: 0 };
}

/**
 * @param {OutboxRecord} record For which there is no room.
 * @returns {OutboxRecord}
 */
export function refused(record) {
  return { ...record, state: 'failed', body: null, error: { code: 'queue_full', status: null } };
}

/**
 * @param {OutboxRecord} record Whose time is over.
 * @param {number} now
 * @returns {OutboxRecord | null} What waited is known as failed for as long again, without its text; of the rest
 *   nothing is left.
 */
export function expired(record, now) {
  if (record.state !== 'queued') return null;
  const expiresMs = now + Math.max(record.expiresMs - record.createdMs, 0);
  return { ...record, state: 'failed', body: null, error: { code: 'expired', status: null }, expiresMs };
}

/**
 * As escalation that is turned off leaves a message that waits: its text stays until its time is over.
 *
 * @param {OutboxRecord} record
 * @returns {OutboxRecord}
 */
export function withdrawn(record) {
  return { ...record, state: 'failed', error: { code: 'off', status: null } };
}

/** @param {OutboxRecord} record */
export function isWithdrawn({ error }) {
  return error?.code === 'off' && error.status === null;
}

/** Whether no server has answered the last attempt, for want of a network or of a token. @param {OutboxRecord} record */
export function isUnanswered({ error }) {
  return error !== null && error.status === null;
}

/**
 * Those tried least come first: one that never gets through must not keep the others from their turn.
 *
 * @param {OutboxRecord} left
 * @param {OutboxRecord} right
 */
export function byTurn(left, right) {
  return left.attempts - right.attempts || left.createdMs - right.createdMs;
}

/**
 * Further ahead than any wait means that the clock was set back.
 *
 * @param {number} ms
 * @param {number} now
 */
export function isAhead(ms, now) {
  return ms > now && ms <= now + MAX_RETRY_AFTER_MS;
}

/** @param {OutboxRecord} record @returns {OutboxItem} */
export function itemOf({ key, state, intent, reason, redactions, attempts, bytes, createdMs, nextMs, id, error }) {
  const next = state === 'queued' ? nextMs : null;
  return { key, state, intent, reason, redactions, attempts, bytes: bytes ?? 0, createdMs, nextMs: next, id, error };
}
