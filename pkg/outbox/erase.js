/**
 * Erases what expires, whichever address it waits for: also one that nobody opens an outbox for any more.
 *
 * @module
 */

import { CHANNEL, expired, openExisting, resultOf, within } from './store.js';

/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */

/** Longest time between two looks, in milliseconds: other pages may store something meanwhile. */
const LOOK_MS = 10 * 60_000;

/**
 * Erases what has expired, and from now on what expires.
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
  const database = await openExisting();
  if (!database) return Infinity;
  try {
    const now = Date.now();
    let nextMs = Infinity;
    /** @type {OutboxRecord[]} */
    const failed = [];
    await within(database, 'readwrite', async (items) => {
      /** @type {OutboxRecord[]} */
      const records = await resultOf(items.getAll());
      for (const record of records) {
        const left = record.expiresMs > now ? record : expired(record, now);
        if (!left) await resultOf(items.delete(record.key));
        else nextMs = Math.min(nextMs, left.expiresMs);
        if (left && left !== record) {
          await resultOf(items.put(left));
          failed.push(left);
        }
      }
    });
    tell(failed);
    return nextMs;
  } finally {
    database.close();
  }
}

/** @param {OutboxRecord[]} failed Of which the outboxes of their addresses are to know. */
function tell(failed) {
  if (failed.length === 0 || typeof BroadcastChannel === 'undefined') return;
  const channel = new BroadcastChannel(CHANNEL);
  for (const { url, key } of failed) channel.postMessage({ url, key });
  channel.close();
}
