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

/** Longest time between two looks, in milliseconds: other pages may store something meanwhile. */
const LOOK_MS = 10 * 60_000;

/**
 * Erases what expires, from now on, for pages that have no outbox of their own.
 *
 * @param {AbortSignal} signal Ends it.
 */
export async function eraseInTime(signal) {
  const nextMs = await eraseExpired();
  if (nextMs === null || signal.aborted) return;
  const timer = setTimeout(() => void eraseInTime(signal), Math.min(Math.max(nextMs - Date.now(), 0), LOOK_MS));
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
}

/**
 * Erases what has expired, without making a database.
 *
 * @returns {Promise<number | null>} When the next item expires; `null` where there is no database.
 */
async function eraseExpired() {
  try {
    const databases = await indexedDB.databases();
    if (!databases.some(({ name }) => name === DATABASE)) return null;
    const database = await openDatabase();
    try {
      const items = database.transaction(ITEMS, 'readwrite').objectStore(ITEMS);
      /** @type {OutboxRecord[]} */
      const records = await resultOf(items.getAll());
      let nextMs = Infinity;
      for (const { key, expiresMs } of records) {
        if (expiresMs <= Date.now()) await resultOf(items.delete(key));
        else nextMs = Math.min(nextMs, expiresMs);
      }
      return nextMs;
    } finally {
      database.close();
    }
  } catch {
    // Without a database there is nothing to erase.
    return null;
  }
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

  /**
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {(items: IDBObjectStore) => Promise<T>} body Awaits nothing but requests of the store.
   * @returns {Promise<T>} Settles when what was written is on disk.
   */
  async #within(mode, body) {
    const transaction = this.#database.transaction(ITEMS, mode, { durability: 'strict' });
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = () => reject(transaction.error);
    });
    const [value] = await Promise.all([body(transaction.objectStore(ITEMS)), done]);
    return value;
  }

  /** @type {Store['add']} */
  add(record, maxQueued) {
    return this.#within('readwrite', async (items) => {
      const there = await resultOf(items.index(BY_URL).getAll(rangeOf(record.url)));
      const queued = there.filter(({ state }) => state === 'queued').length;
      const kept = queued < maxQueued ? record : refused(record);
      await resultOf(items.put(kept));
      return kept;
    });
  }

  /** @type {Store['get']} */
  get(key) {
    return this.#within('readonly', (items) => resultOf(items.get(key)));
  }

  /** @type {Store['all']} */
  all(url) {
    return this.#within('readonly', (items) => resultOf(items.index(BY_URL).getAll(rangeOf(url))));
  }

  /** @type {Store['update']} */
  update(key, change) {
    return this.#within('readwrite', async (items) => {
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
    return this.#within('readwrite', async (items) => {
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
