/**
 * The IndexedDB database where messages of all addresses wait.
 *
 * @module
 */

import { limited } from './limit.js';
import { expired } from './records.js';
import { IntentError } from '../errors.js';

/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */
/** @typedef {import('./types.js').OutboxState} OutboxState */

const DATABASE = 'relayops-intent-outbox';
const ITEMS = 'items';
const VERSION = 2;

/** Longest that the browser may take to open it, in milliseconds. */
const OPEN_MS = 5_000;

/** Its indexes. */
export const BY_STATE = 'by-state';
export const BY_TURN = 'by-turn';
export const BY_PAUSE = 'by-pause';
const BY_EXPIRY = 'by-expiry';

/** What each of them is ordered by. */
const INDEXES = {
  [BY_STATE]: ['url', 'state', 'createdMs'],
  [BY_TURN]: ['url', 'state', 'attempts', 'createdMs', 'nextMs'],
  [BY_PAUSE]: ['url', 'state', 'pausedUntilMs'],
  [BY_EXPIRY]: 'expiresMs',
};

/** Opens the database, and again where it was closed from outside. */
export class Connection {
  /** @type {Promise<IDBDatabase> | null} */
  #opening = null;
  #closed = false;

  /** Resolves when the database is open. */
  async open() {
    await this.#open();
  }

  /**
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {(items: IDBObjectStore) => Promise<T>} body Awaits nothing but requests of the store.
   * @returns {Promise<T>} Settles when what was written is on disk.
   * @throws {IntentError} `disposed` after {@link close}
   */
  async within(mode, body) {
    const opening = this.#open();
    try {
      return await within(await opening, mode, body);
    } catch (error) {
      if (!isClosed(error) || this.#closed) throw error;
      if (this.#opening === opening) this.#opening = null;
      return within(await this.#open(), mode, body);
    }
  }

  close() {
    this.#closed = true;
    this.#opening?.then((database) => database.close()).catch(() => undefined);
    this.#opening = null;
  }

  /** @returns {Promise<IDBDatabase>} */
  #open() {
    if (this.#closed) return Promise.reject(new IntentError('disposed', 'the outbox was closed'));
    const opening = (this.#opening ??= openDatabase());
    const forget = () => {
      if (this.#opening === opening) this.#opening = null;
    };
    opening.then((database) => {
      // The browser gave up on it, or the person erased what the site keeps.
      database.onclose = forget;
      // Another page erases it, or another version of this package wants to change it.
      database.onversionchange = () => (database.close(), forget());
    }, forget);
    return opening;
  }
}

/**
 * @template T
 * @param {IDBDatabase} database
 * @param {IDBTransactionMode} mode
 * @param {(items: IDBObjectStore) => Promise<T>} body Awaits nothing but requests of the store.
 * @returns {Promise<T>} Settles when what was written is on disk.
 */
export async function within(database, mode, body) {
  const transaction = database.transaction(ITEMS, mode, { durability: 'strict' });
  const done = new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(undefined);
    transaction.onabort = () => reject(transaction.error);
  });
  const [value] = await Promise.all([
    body(transaction.objectStore(ITEMS)).catch((error) => {
      undo(transaction);
      throw error;
    }),
    done,
  ]);
  return value;
}

/** @param {IDBTransaction} transaction Which may be over. */
function undo(transaction) {
  try {
    transaction.abort();
  } catch {
    // The browser has done so.
  }
}

/**
 * Opens the database without making one.
 *
 * @returns {Promise<IDBDatabase | null>} `null` where there is none.
 */
export async function openExisting() {
  // Missing before Firefox 126; then opening it finds out.
  const known = await limited(indexedDB.databases?.(), OPEN_MS).catch(() => undefined);
  if (known && !known.some(({ name }) => name === DATABASE)) return null;
  let isNew = false;
  try {
    return await openDatabase(() => (isNew = true));
  } catch (error) {
    if (isNew) return null;
    throw error;
  }
}

/**
 * @param {() => void} [onNew] Called in place of making it, where there is none.
 * @returns {Promise<IDBDatabase>}
 */
async function openDatabase(onNew) {
  const request = indexedDB.open(DATABASE, VERSION);
  request.onupgradeneeded = ({ oldVersion }) => {
    const transaction = /** @type {IDBTransaction} */ (request.transaction);
    if (oldVersion > 0 || !onNew) return upgrade(request.result, transaction);
    onNew();
    transaction.abort();
  };
  const opening = resultOf(request);
  try {
    return await limited(opening, OPEN_MS);
  } catch (error) {
    // One that comes late is nobody's, and would be in the way of others.
    opening.then((database) => database.close()).catch(() => undefined);
    throw error;
  }
}

/**
 * @param {IDBDatabase} database
 * @param {IDBTransaction} transaction
 */
function upgrade(database, transaction) {
  const isNew = !database.objectStoreNames.contains(ITEMS);
  const items = isNew ? database.createObjectStore(ITEMS, { keyPath: 'key' }) : transaction.objectStore(ITEMS);
  for (const name of Array.from(items.indexNames)) items.deleteIndex(name);
  for (const [name, path] of Object.entries(INDEXES)) items.createIndex(name, path);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
export function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {IDBRequest<IDBCursor | null>} request
 * @param {(cursor: IDBCursor) => boolean} isLast Whether no more is wanted.
 * @returns {Promise<void>}
 */
export function walk(request, isLast) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor || isLast(cursor)) resolve();
      else cursor.continue();
    };
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {string} url
 * @param {OutboxState} [state] Any, if omitted.
 * @returns {IDBKeyRange} Of {@link BY_STATE} and {@link BY_TURN}.
 */
export function rangeOf(url, state) {
  const start = state === undefined ? [url] : [url, state];
  // Arrays come after everything else.
  return IDBKeyRange.bound(start, [...start, []]);
}

/**
 * @param {IDBObjectStore} items
 * @param {string} url
 * @param {OutboxState} state
 * @param {(record: OutboxRecord) => OutboxRecord} change Gives back the record itself where it stays.
 * @returns {Promise<OutboxRecord[]>} Those that were changed.
 */
export async function changeAll(items, url, state, change) {
  /** @type {OutboxRecord[]} */
  const records = await resultOf(items.index(BY_STATE).getAll(rangeOf(url, state)));
  const changed = records.map((record) => [record, change(record)]).filter(([before, after]) => after !== before);
  await Promise.all(changed.map(([, record]) => resultOf(items.put(record))));
  return changed.map(([, record]) => record);
}

/**
 * @param {IDBObjectStore} items
 * @returns {Promise<number>} When the next record expires, of whatever address; `Infinity` where there is none.
 */
export async function nextExpiry(items) {
  const cursor = await resultOf(items.index(BY_EXPIRY).openKeyCursor());
  return cursor ? Number(cursor.key) : Infinity;
}

/**
 * @param {IDBObjectStore} items
 * @param {number} now
 * @returns {Promise<OutboxRecord[]>} Those that are failed now; the others that expired are gone.
 */
export async function expireAll(items, now) {
  /** @type {OutboxRecord[]} */
  const over = await resultOf(items.index(BY_EXPIRY).getAll(IDBKeyRange.upperBound(now)));
  /** @type {OutboxRecord[]} */
  const failed = [];
  await Promise.all(
    over.map(async (record) => {
      const left = expired(record, now);
      if (left) failed.push(left);
      await (left ? resultOf(items.put(left)) : resultOf(items.delete(record.key)));
    }),
  );
  return failed;
}

/** Whether the handle was of no use. @param {unknown} error */
function isClosed(error) {
  return error instanceof DOMException && error.name === 'InvalidStateError';
}
