/**
 * One attempt, and when the next one is due.
 *
 * @module
 */

/** @typedef {import('./types.js').OutboxError} OutboxError */
/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */

/**
 * An attempt that is to be made again. What it `concerns` is why: the message alone, whatever is sent to the address, or
 * either of them. `bytes` are those of the body, where somebody answered it.
 *
 * @typedef {{ kind: 'retry', error: OutboxError, waitMs: number, concerns: 'message' | 'address' | 'unknown', bytes: number }} Retry
 */

/**
 * What became of an attempt.
 *
 * @typedef {{ kind: 'sent', id: number, bytes: number }
 *   | { kind: 'failed', error: OutboxError, bytes: number }
 *   | Retry
 *   | { kind: 'stopped' }} Outcome
 */

/** Longest that an attempt may take, in milliseconds. */
const TIMEOUT_MS = 30_000;

/** First wait after an attempt that failed, and the longest, in milliseconds. */
const FIRST_WAIT_MS = 1_000;
const LAST_WAIT_MS = 5 * 60_000;

/** Longest `Retry-After` that is waited for, in milliseconds: one that is wrong must not hold messages for days. */
export const MAX_RETRY_AFTER_MS = 60 * 60_000;

/** Answers that mean that this message will never be taken. */
const FINAL = [400, 409, 413, 415];

/** Answers that ask everybody to wait. */
const BUSY = [429, 503];

/**
 * @param {OutboxRecord} record
 * @param {string | (() => string | Promise<string>) | undefined} token
 * @param {AbortSignal} stop
 * @returns {Promise<Outcome>}
 */
export async function send(record, token, stop) {
  const body = JSON.stringify(record.body);
  let bytes = 0;
  /** @type {(code: string, status: number | null, concerns?: Retry['concerns'], waitMs?: number) => Retry} */
  const retry = (code, status, concerns = 'unknown', waitMs = 0) => {
    const wait = Math.max(waitMs, backoff(record.attempts));
    return { kind: 'retry', error: { code, status }, waitMs: wait, concerns, bytes };
  };
  // `AbortSignal.timeout` is missing before Chrome 103.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), TIMEOUT_MS);
  const end = eitherOf(stop, late.signal);
  try {
    const bearer = await bearerOf(token, end);
    if (stop.aborted) return { kind: 'stopped' };
    if (bearer === null) return retry('token', null, 'address');
    const response = await fetch(record.url, requestOf(record.key, body, bearer, end));
    bytes = new TextEncoder().encode(body).length;
    const answer = await jsonOf(response);
    if (response.ok) {
      // Whatever stands in between, a proxy or a hotel’s log-in page, does not know the key.
      const acknowledged = answer?.key === record.key && Number.isSafeInteger(answer.id);
      return acknowledged ? { kind: 'sent', id: answer.id, bytes } : retry('not_acknowledged', response.status);
    }
    const named = answer?.error?.code;
    const code = typeof named === 'string' ? named : `http_${response.status}`;
    if (FINAL.includes(response.status)) return { kind: 'failed', error: { code, status: response.status }, bytes };
    const waitMs = retryAfter(response.headers.get('retry-after'));
    return retry(code, response.status, concernOf(response.status, waitMs), waitMs);
  } catch {
    if (stop.aborted) return { kind: 'stopped' };
    return retry(late.signal.aborted ? 'timeout' : 'network', null);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {number} status
 * @param {number} waitMs That the answer asks for.
 * @returns {Retry['concerns']}
 */
function concernOf(status, waitMs) {
  if (status === 500) return 'message';
  return waitMs > 0 || BUSY.includes(status) ? 'address' : 'unknown';
}

/**
 * @param {string} key
 * @param {string} body
 * @param {string | undefined} bearer
 * @param {AbortSignal} signal
 * @returns {RequestInit}
 */
function requestOf(key, body, bearer, signal) {
  /** @type {Record<string, string>} */
  const headers = { 'content-type': 'application/json', 'idempotency-key': key };
  if (bearer !== undefined) headers.authorization = `Bearer ${bearer}`;
  return {
    method: 'POST',
    headers,
    body,
    signal,
    cache: 'no-store',
    credentials: 'omit',
    // It would lead to an address that nobody configured.
    redirect: 'error',
    referrerPolicy: 'no-referrer',
  };
}

/**
 * @param {string | (() => string | Promise<string>) | undefined} token
 * @param {AbortSignal} end After which nobody waits for it any more.
 * @returns {Promise<string | undefined | null>} `null` where it could not be had.
 */
async function bearerOf(token, end) {
  if (typeof token !== 'function') return token;
  try {
    const given = await Promise.race([token(), aborted(end)]);
    return typeof given === 'string' ? given : null;
  } catch {
    return null;
  }
}

/** @param {AbortSignal} signal @returns {Promise<void>} Settles when it is aborted. */
function aborted(signal) {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** @param {Response} response @returns {Promise<any>} `undefined` for what is not JSON. */
async function jsonOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {AbortSignal} one
 * @param {AbortSignal} other
 * @returns {AbortSignal} Aborted when either is.
 */
export function eitherOf(one, other) {
  const either = new AbortController();
  for (const signal of [one, other]) {
    if (signal.aborted) either.abort();
    signal.addEventListener('abort', () => either.abort(), { once: true, signal: either.signal });
  }
  return either.signal;
}

/**
 * Twice as long each time, and never the same for two clients.
 *
 * @param {number} attempts Made before.
 * @returns {number} Milliseconds.
 */
export function backoff(attempts) {
  const longest = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempts, 20));
  return Math.round(longest * (0.5 + Math.random() / 2));
}

/**
 * @param {string | null} header Seconds or a date.
 * @returns {number} Milliseconds from now; 0 where it says nothing.
 */
export function retryAfter(header) {
  if (header === null) return 0;
  const wait = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0), MAX_RETRY_AFTER_MS) : 0;
}
