/**
 * What is done to messages that wait without an outbox being open for them.
 *
 * @module
 */

import { changeAll, expireAll, nextExpiry, openExisting, within } from './database.js';
import { withdrawn } from './records.js';

/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */

/** Name of the channel by which pages of one origin tell each other of items, and of their locks. */
export const CHANNEL = 'relayops-intent-outbox';

/** Longest time between two looks, in milliseconds: other pages may store something meanwhile. */
const LOOK_MS = 10 * 60_000;

/**
 * Erases what has expired, and from now on what expires, whichever address it waits for: also one that nobody opens an
 * outbox for any more.
 *
 * @param {AbortSignal} signal Ends it.
 */
export function eraseInTime(signal) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const look = async () => {
    // A database that can't be had now may be there at the next look.
    const nextMs = await eraseExpired().catch(() => Infinity);
    if (nextMs === null || signal.aborted) return;
    timer = setTimeout(look, Math.min(Math.max(nextMs - Date.now(), 0), LOOK_MS));
  };
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  void look();
}

/** @returns {Promise<number | null>} When the next item expires; `null` where there are no databases at all. */
async function eraseExpired() {
  if (!globalThis.indexedDB) return null;
  const done = await inExisting(async (items) => {
    const failed = await expireAll(items, Date.now());
    return { failed, nextMs: await nextExpiry(items) };
  });
  tell(done?.failed ?? []);
  return done?.nextMs ?? Infinity;
}

/**
 * Takes back what waits for an address.
 *
 * @param {string} url
 */
export async function takeBack(url) {
  if (!globalThis.indexedDB) return;
  tell((await inExisting((items) => changeAll(items, url, 'queued', withdrawn))) ?? []);
}

/**
 * @template T
 * @param {(items: IDBObjectStore) => Promise<T>} body
 * @returns {Promise<T | null>} `null` where there is no database.
 */
async function inExisting(body) {
  const database = await openExisting();
  if (!database) return null;
  try {
    return await within(database, 'readwrite', body);
  } finally {
    database.close();
  }
}

/** @param {OutboxRecord[]} changed Of which the outboxes of their addresses are to know. */
function tell(changed) {
  if (changed.length === 0 || typeof BroadcastChannel === 'undefined') return;
  const channel = new BroadcastChannel(CHANNEL);
  for (const { url, key } of changed) channel.postMessage({ url, key });
  channel.close();
}
