/**
 * Where items wait: IndexedDB, or memory where the browser has none to give.
 *
 * @module
 */

/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */

/**
 * @typedef {object} Store
 * @property {boolean} durable Whether items outlive the page.
 * @property {(record: OutboxRecord, maxQueued: number) => Promise<OutboxRecord>} add Where too many
 *   are queued for its address, it is kept as failed, without its text.
 * @property {(key: string) => Promise<OutboxRecord | undefined>} get
 * @property {(url: string) => Promise<OutboxRecord[]>} all Oldest first.
 * @property {(key: string, change: (record: OutboxRecord) => OutboxRecord) => Promise<OutboxRecord | undefined>} update
 *   Nothing comes between reading and writing.
 * @property {(keys: string[]) => Promise<void>} remove
 * @property {() => void} close
 */

/** Name of the channel by which pages of one origin tell each other of items, and of their locks. */
export const CHANNEL = 'relayops-intent-outbox';

const DATABASE = 'relayops-intent-outbox';
const ITEMS = 'items';
const BY_URL = 'by-url';

/** @returns {Promise<Store>} */
export async function openStore() {
  try {
    return new SpillingStore(new DatabaseStore(await openDatabase()));
  } catch {
    // Forbidden in some private windows and embedded frames.
    return new MemoryStore();
  }
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

/** @param {OutboxRecord} record @returns {OutboxRecord} */
function refused(record) {
  return { ...record, state: 'failed', body: null, error: { code: 'queue_full', status: null } };
}

/** @returns {Promise<IDBDatabase>} */
function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    const items = request.result.createObjectStore(ITEMS, { keyPath: 'key' });
    items.createIndex(BY_URL, ['url', 'createdMs']);
  };
  return resultOf(request);
}

/**
 * Opens the database without making one.
 *
 * @returns {Promise<IDBDatabase | null>} `null` where there is none.
 */
async function openExisting() {
  // Missing before Firefox 126; then opening it finds out.
  const known = await indexedDB.databases?.().catch(() => undefined);
  if (known && !known.some(({ name }) => name === DATABASE)) return null;
  const request = indexedDB.open(DATABASE);
  let isNew = false;
  request.onupgradeneeded = () => {
    isNew = true;
    request.transaction?.abort();
  };
  try {
    return await resultOf(request);
  } catch (error) {
    if (isNew) return null;
    throw error;
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @template T
 * @param {IDBDatabase} database
 * @param {IDBTransactionMode} mode
 * @param {(items: IDBObjectStore) => Promise<T>} body Awaits nothing but requests of the store.
 * @returns {Promise<T>} Settles when what was written is on disk.
 */
async function within(database, mode, body) {
  const transaction = database.transaction(ITEMS, mode, { durability: 'strict' });
  const done = new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(undefined);
    transaction.onabort = () => reject(transaction.error);
  });
  const [value] = await Promise.all([body(transaction.objectStore(ITEMS)), done]);
  return value;
}

/** @implements {Store} */
class DatabaseStore {
  durable = true;
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
    // Another version of this package wants to change it.
    database.onversionchange = () => database.close();
  }

  /** @type {Store['add']} */
  add(record, maxQueued) {
    return within(this.#database, 'readwrite', async (items) => {
      const there = await resultOf(items.index(BY_URL).getAll(rangeOf(record.url)));
      const queued = there.filter(({ state }) => state === 'queued').length;
      const kept = queued < maxQueued ? record : refused(record);
      await resultOf(items.put(kept));
      return kept;
    });
  }

  /** @type {Store['get']} */
  get(key) {
    return within(this.#database, 'readonly', (items) => resultOf(items.get(key)));
  }

  /** @type {Store['all']} */
  all(url) {
    return within(this.#database, 'readonly', (items) => resultOf(items.index(BY_URL).getAll(rangeOf(url))));
  }

  /** @type {Store['update']} */
  update(key, change) {
    return within(this.#database, 'readwrite', async (items) => {
      /** @type {OutboxRecord | undefined} */
      const record = await resultOf(items.get(key));
      if (!record) return undefined;
      const changed = change(record);
      await resultOf(items.put(changed));
      return changed;
    });
  }

  /** @type {Store['remove']} */
  remove(keys) {
    return within(this.#database, 'readwrite', async (items) => {
      for (const key of keys) await resultOf(items.delete(key));
    });
  }

  close() {
    this.#database.close();
  }
}

/** @param {string} url */
function rangeOf(url) {
  return IDBKeyRange.bound([url, -Infinity], [url, Infinity]);
}

/** @implements {Store} */
class MemoryStore {
  durable = false;
  /** @type {Map<string, OutboxRecord>} */
  #items = new Map();

  /** @type {Store['add']} */
  async add(record, maxQueued) {
    const queued = (await this.all(record.url)).filter(({ state }) => state === 'queued').length;
    const kept = queued < maxQueued ? record : refused(record);
    this.#items.set(kept.key, kept);
    return kept;
  }

  /** @type {Store['get']} */
  async get(key) {
    return this.#items.get(key);
  }

  /** @type {Store['all']} */
  async all(url) {
    const mine = [...this.#items.values()].filter((record) => record.url === url);
    return mine.sort((left, right) => left.createdMs - right.createdMs);
  }

  /** @type {Store['update']} */
  async update(key, change) {
    const record = this.#items.get(key);
    if (!record) return undefined;
    const changed = change(record);
    this.#items.set(key, changed);
    return changed;
  }

  /** @type {Store['remove']} */
  async remove(keys) {
    for (const key of keys) this.#items.delete(key);
  }

  close() {}
}

/**
 * A database, and memory for what it does not take because the disk is full.
 *
 * @implements {Store}
 */
class SpillingStore {
  durable = true;
  #database;
  #memory = new MemoryStore();

  /** @param {Store} database */
  constructor(database) {
    this.#database = database;
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
    // A database that fails for good must not hold up what lies beside it.
    const stored = spilled.length > 0 ? await this.#database.all(url).catch(() => []) : await this.#database.all(url);
    return [...stored, ...spilled];
  }

  /** @type {Store['update']} */
  async update(key, change) {
    return (await this.#memory.update(key, change)) ?? this.#database.update(key, change);
  }

  /** @type {Store['remove']} */
  async remove(keys) {
    await this.#memory.remove(keys);
    await this.#database.remove(keys);
  }

  close() {
    this.#database.close();
  }
}
