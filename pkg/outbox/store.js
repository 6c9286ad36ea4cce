/**
 * Where items wait: IndexedDB, or memory where the browser has none to give.
 *
 * @module
 */

import { BY_PAUSE, BY_STATE, BY_TURN, Connection, changeAll, expireAll, nextExpiry, rangeOf, resultOf, walk } from './database.js';
import { MAX_SENT, byTurn, expired, isAhead, refused } from './records.js';
import { MAX_RETRY_AFTER_MS } from './send.js';

/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */
/** @typedef {import('./types.js').OutboxState} OutboxState */

/**
 * What is to be sent now. Where that is nothing, `wakeMs` is when to look again; `Infinity` where nothing waits.
 *
 * @typedef {{ due: OutboxRecord | null, pausedUntilMs: number, wakeMs: number }} Turn
 */

/**
 * @typedef {object} Store
 * @property {boolean} durable Whether items outlive the page.
 * @property {boolean} holds Whether something waits that no other page can send.
 * @property {(record: OutboxRecord, maxQueued: number) => Promise<OutboxRecord>} add Where too many
 *   are queued for its address, it is kept as failed, without its text.
 * @property {(key: string) => Promise<OutboxRecord | undefined>} get
 * @property {(url: string) => Promise<OutboxRecord[]>} all Oldest first.
 * @property {(url: string) => Promise<Record<OutboxState, number>>} counts
 * @property {(url: string, now: number, onlyHeld?: boolean) => Promise<Turn>} next Of all that waits, or only of what no other page
 *   can send.
 * @property {(key: string, change: (record: OutboxRecord) => OutboxRecord) => Promise<OutboxRecord | undefined>} update
 *   Nothing comes between reading and writing.
 * @property {(url: string, state: OutboxState, change: (record: OutboxRecord) => OutboxRecord) => Promise<OutboxRecord[]>} updateAll
 *   All at once. A record that `change` gives back itself stays; the others are what it resolves to.
 * @property {(now: number) => Promise<{ failed: OutboxRecord[], nextMs: number }>} expire Erases what has expired, of whatever
 *   address; `nextMs` is when there is more to erase.
 * @property {(url: string) => Promise<void>} clear
 * @property {() => void} close
 */

/** @returns {Promise<Store>} */
export async function openStore() {
  try {
    const connection = new Connection();
    await connection.open();
    return new SpillingStore(new DatabaseStore(connection));
  } catch {
    // Forbidden in some private windows and embedded frames.
    return new MemoryStore();
  }
}

/** @implements {Store} */
class DatabaseStore {
  durable = true;
  holds = false;
  #connection;

  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }

  /** @type {Store['add']} */
  add(record, maxQueued) {
    return this.#connection.within('readwrite', async (items) => {
      const queued = await resultOf(items.index(BY_STATE).count(rangeOf(record.url, 'queued')));
      const kept = queued < maxQueued ? record : refused(record);
      await resultOf(items.put(kept));
      return kept;
    });
  }

  /** @type {Store['get']} */
  get(key) {
    return this.#connection.within('readonly', (items) => resultOf(items.get(key)));
  }

  /** @type {Store['all']} */
  async all(url) {
    const records = await this.#connection.within('readonly', (items) => resultOf(items.index(BY_STATE).getAll(rangeOf(url))));
    return records.sort(byAge);
  }

  /** @type {Store['counts']} */
  counts(url) {
    return this.#connection.within('readonly', async (items) => {
      const count = (/** @type {OutboxState} */ state) => resultOf(items.index(BY_STATE).count(rangeOf(url, state)));
      const [queued, sent, failed] = await Promise.all([count('queued'), count('sent'), count('failed')]);
      return { queued, sent, failed };
    });
  }

  /** @type {Store['next']} */
  next(url, now) {
    return this.#connection.within('readonly', async (items) => {
      const pauses = IDBKeyRange.bound([url, 'queued', now], [url, 'queued', now + MAX_RETRY_AFTER_MS], true);
      const latest = await resultOf(items.index(BY_PAUSE).openKeyCursor(pauses, 'prev'));
      if (latest) return paused(/** @type {[string, string, number]} */ (latest.key)[2]);
      /** @type {IDBValidKey | undefined} */
      let key;
      let wakeMs = Infinity;
      await walk(items.index(BY_TURN).openKeyCursor(rangeOf(url, 'queued')), (cursor) => {
        const [, , , , nextMs] = /** @type {[string, string, number, number, number]} */ (cursor.key);
        if (isAhead(nextMs, now)) wakeMs = Math.min(wakeMs, nextMs);
        else key = cursor.primaryKey;
        return key !== undefined;
      });
      return { due: key === undefined ? null : await resultOf(items.get(key)), pausedUntilMs: 0, wakeMs };
    });
  }

  /** @type {Store['update']} */
  update(key, change) {
    return this.#connection.within('readwrite', async (items) => {
      /** @type {OutboxRecord | undefined} */
      const record = await resultOf(items.get(key));
      if (!record) return undefined;
      const changed = change(record);
      if (changed.state === 'sent') await forgetSent(items, changed.url);
      await resultOf(items.put(changed));
      return changed;
    });
  }

  /** @type {Store['updateAll']} */
  updateAll(url, state, change) {
    return this.#connection.within('readwrite', (items) => changeAll(items, url, state, change));
  }

  /** @type {Store['expire']} */
  async expire(now) {
    const nextMs = await this.#connection.within('readonly', nextExpiry);
    if (nextMs > now) return { failed: [], nextMs };
    return this.#connection.within('readwrite', async (items) => ({ failed: await expireAll(items, now), nextMs: await nextExpiry(items) }));
  }

  /** @type {Store['clear']} */
  clear(url) {
    return this.#connection.within('readwrite', async (items) => {
      const keys = await resultOf(items.index(BY_STATE).getAllKeys(rangeOf(url)));
      await Promise.all(keys.map((key) => resultOf(items.delete(key))));
    });
  }

  close() {
    this.#connection.close();
  }
}

/**
 * Makes room for one more that was sent.
 *
 * @param {IDBObjectStore} items
 * @param {string} url
 */
async function forgetSent(items, url) {
  const sent = rangeOf(url, 'sent');
  const over = (await resultOf(items.index(BY_STATE).count(sent))) - MAX_SENT + 1;
  if (over <= 0) return;
  const keys = await resultOf(items.index(BY_STATE).getAllKeys(sent, over));
  await Promise.all(keys.map((key) => resultOf(items.delete(key))));
}

/** @implements {Store} */
class MemoryStore {
  durable = false;
  /** @type {Map<string, OutboxRecord>} */
  #items = new Map();

  get holds() {
    return Array.from(this.#items.values()).some(({ state }) => state === 'queued');
  }

  /** @type {Store['add']} */
  async add(record, maxQueued) {
    const kept = this.#of(record.url, 'queued').length < maxQueued ? record : refused(record);
    this.#items.set(kept.key, kept);
    return kept;
  }

  /** @type {Store['get']} */
  async get(key) {
    return this.#items.get(key);
  }

  /** @type {Store['all']} */
  async all(url) {
    return this.#of(url).sort(byAge);
  }

  /** @type {Store['counts']} */
  async counts(url) {
    const counts = { queued: 0, sent: 0, failed: 0 };
    for (const { state } of this.#of(url)) counts[state] += 1;
    return counts;
  }

  /** @type {Store['next']} */
  async next(url, now) {
    const queued = this.#of(url, 'queued');
    const ahead = (/** @type {number[]} */ times) => times.filter((ms) => isAhead(ms, now));
    const pausedUntilMs = Math.max(...ahead(queued.map((record) => record.pausedUntilMs)), 0);
    if (pausedUntilMs > 0) return paused(pausedUntilMs);
    const [due = null] = queued.filter(({ nextMs }) => !isAhead(nextMs, now)).sort(byTurn);
    return { due, pausedUntilMs, wakeMs: Math.min(...ahead(queued.map(({ nextMs }) => nextMs)), Infinity) };
  }

  /** @type {Store['update']} */
  async update(key, change) {
    const record = this.#items.get(key);
    if (!record) return undefined;
    const changed = change(record);
    if (changed.state === 'sent') this.#forget(this.#of(changed.url, 'sent').sort(byAge).slice(0, 1 - MAX_SENT));
    this.#items.set(key, changed);
    return changed;
  }

  /** @type {Store['updateAll']} */
  async updateAll(url, state, change) {
    const changed = this.#of(url, state).map((record) => [record, change(record)]).filter(([before, after]) => after !== before);
    return changed.map(([, record]) => (this.#items.set(record.key, record), record));
  }

  /** @type {Store['expire']} */
  async expire(now) {
    /** @type {OutboxRecord[]} */
    const failed = [];
    for (const record of Array.from(this.#items.values()).filter(({ expiresMs }) => expiresMs <= now)) {
      const left = expired(record, now);
      if (left) {
        failed.push(left);
        this.#items.set(left.key, left);
      } else this.#items.delete(record.key);
    }
    return { failed, nextMs: Math.min(...Array.from(this.#items.values(), ({ expiresMs }) => expiresMs), Infinity) };
  }

  /** @type {Store['clear']} */
  async clear(url) {
    this.#forget(this.#of(url));
  }

  close() {}

  /**
   * @param {string} url
   * @param {OutboxState} [state] Any, if omitted.
   */
  #of(url, state) {
    return Array.from(this.#items.values()).filter((record) => record.url === url && (state === undefined || record.state === state));
  }

  /** @param {OutboxRecord[]} records */
  #forget(records) {
    for (const { key } of records) this.#items.delete(key);
  }
}

/**
 * A database, and memory for what it does not take because the disk is full.
 *
 * @implements {Store}
 */
class SpillingStore {
  #database;
  #memory = new MemoryStore();

  /** @param {Store} database */
  constructor(database) {
    this.#database = database;
  }

  get durable() {
    return !this.holds;
  }

  get holds() {
    return this.#memory.holds;
  }

  /** @type {Store['add']} */
  add(record, maxQueued) {
    return this.#database.add(record, maxQueued).catch(() => this.#memory.add(record, maxQueued));
  }

  /** @type {Store['get']} */
  async get(key) {
    return (await this.#memory.get(key)) ?? this.#database.get(key);
  }

  /** @type {Store['all']} */
  async all(url) {
    const spilled = await this.#memory.all(url);
    const stored = await this.#orBeside(this.#database.all(url), []);
    return [...stored, ...spilled].sort(byAge);
  }

  /** @type {Store['counts']} */
  async counts(url) {
    const spilled = await this.#memory.counts(url);
    const stored = await this.#orBeside(this.#database.counts(url), { queued: 0, sent: 0, failed: 0 });
    return { queued: stored.queued + spilled.queued, sent: stored.sent + spilled.sent, failed: stored.failed + spilled.failed };
  }

  /** @type {Store['next']} */
  async next(url, now, onlyHeld = false) {
    const spilled = await this.#memory.next(url, now);
    const stored = await this.#orBeside(this.#database.next(url, now), { due: null, pausedUntilMs: 0, wakeMs: now + LOOK_MS });
    const pausedUntilMs = Math.max(stored.pausedUntilMs, spilled.pausedUntilMs);
    if (onlyHeld && !this.holds) return { due: null, pausedUntilMs: 0, wakeMs: Infinity };
    if (pausedUntilMs > 0) return paused(pausedUntilMs);
    if (onlyHeld) return spilled;
    const [due = null] = [stored.due, spilled.due].filter((record) => record !== null).sort(byTurn);
    return { due, pausedUntilMs, wakeMs: Math.min(stored.wakeMs, spilled.wakeMs) };
  }

  /** @type {Store['update']} */
  async update(key, change) {
    return (await this.#memory.update(key, change)) ?? this.#database.update(key, change);
  }

  /** @type {Store['updateAll']} */
  async updateAll(url, state, change) {
    const spilled = await this.#memory.updateAll(url, state, change);
    return [...(await this.#orBeside(this.#database.updateAll(url, state, change), [])), ...spilled];
  }

  /** @type {Store['expire']} */
  async expire(now) {
    const spilled = await this.#memory.expire(now);
    const stored = await this.#orBeside(this.#database.expire(now), { failed: [], nextMs: now + LOOK_MS });
    return { failed: [...stored.failed, ...spilled.failed], nextMs: Math.min(stored.nextMs, spilled.nextMs) };
  }

  /** @type {Store['clear']} */
  async clear(url) {
    await this.#memory.clear(url);
    await this.#database.clear(url);
  }

  close() {
    this.#database.close();
  }

  /**
   * @template T
   * @param {Promise<T>} asked Of the database.
   * @param {T} instead Where it fails for good: that must not hold up what lies beside it.
   * @returns {Promise<T>}
   */
  #orBeside(asked, instead) {
    return this.holds ? asked.catch(() => instead) : asked;
  }
}

/** When to look again where the database fails, in milliseconds from now. */
const LOOK_MS = 60_000;

/** @param {number} pausedUntilMs @returns {Turn} */
function paused(pausedUntilMs) {
  return { due: null, pausedUntilMs, wakeMs: pausedUntilMs };
}

/**
 * @param {OutboxRecord} left
 * @param {OutboxRecord} right
 */
function byAge(left, right) {
  return left.createdMs - right.createdMs;
}
