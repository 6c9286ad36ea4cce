/**
 * Where models are kept between visits: one cache of the Cache API for each model.
 *
 * Why the Cache API and not the origin's private file system (OPFS):
 * - an entry is there whole or not at all. A tab that dies while it writes leaves nothing half
 *   written, and two tabs that write the same entry write the same bytes. A file has to be locked,
 *   and its last bytes doubted;
 * - deleting a cache takes a whole model away in one step, also while another tab reads it: what
 *   that tab misses it fetches;
 * - page, Worker and service worker can all read and delete it. OPFS gives its quick, synchronous
 *   access to dedicated Workers only.
 * What it can't do, append to an entry, is made up for by pieces of {@link PIECE_BYTES}.
 *
 * Both exist in secure contexts only, as do `crypto.subtle` and Web Locks: where there is a cache,
 * there are those.
 *
 * A model's cache is named by its identity, so the pieces of two versions can't meet. It holds
 * - `record`: what it is of; says `complete` only once every byte is there, and is written last;
 * - `pack.json`: the manifest of a pack, or an adapter's `intent.json`;
 * - `<file>/<piece>`: the pieces, each an entry.
 *
 * @module
 */

/** Bytes of each piece of a file but the last. An interruption loses less than this. */
export const PIECE_BYTES = 1024 * 1024;

/** Start of the names of all caches of models. */
const ANY_LAYOUT = 'relayops-intent/models/';

/** Start of those of this layout: others are not read. */
export const PREFIX = `${ANY_LAYOUT}1/`;

/** Keys are addresses. Nobody is ever asked at this one: the domain is reserved for that. */
const BASE = 'https://relayops-intent.invalid/';

/** Header that carries the SHA-256 of a piece, where nothing else promises one. */
const DIGEST = 'x-sha256';

/**
 * @typedef {object} ModelRecord
 * @property {'pack' | 'adapter' | 'gguf'} kind
 * @property {string} id SHA-256 in hex: of the manifest of a pack or an adapter; of address, validator and size of a
 *   single file.
 * @property {string} url Where it came from.
 * @property {string} [validator] Of a single file: what its server told it apart by.
 * @property {number[]} files Bytes of each file; 0 while they are not known.
 * @property {boolean} [announced] Whether the server may have counted compressed bytes; not once it is complete.
 * @property {boolean} complete
 * @property {number} savedAt Milliseconds since 1970.
 */

/**
 * @returns {CacheStorage | null} Nothing in an insecure context, or where storage is forbidden.
 */
export function storage() {
  try {
    return globalThis.caches ?? null;
  } catch {
    return null;
  }
}

/** One model's cache. */
export class Store {
  /** @type {Cache} */
  #cache;

  /** @param {Cache} cache */
  constructor(cache) {
    this.#cache = cache;
  }

  /**
   * @param {string} id
   * @returns {Promise<Store>}
   */
  static async open(id) {
    const caches = storage();
    if (!caches) throw new Error('there is no cache in this context');
    return new Store(await caches.open(PREFIX + id));
  }

  /**
   * @param {string} id
   * @returns {Promise<boolean>} Whether there was one.
   */
  static async remove(id) {
    return (await storage()?.delete(PREFIX + id)) ?? false;
  }

  /** Removes all models, those of other layouts too. */
  static async removeAll() {
    const caches = storage();
    const names = (await caches?.keys())?.filter((name) => name.startsWith(ANY_LAYOUT)) ?? [];
    await Promise.all(names.map((name) => caches?.delete(name)));
  }

  /** @returns {Promise<ModelRecord[]>} Of all models of which there is anything. */
  static async records() {
    const caches = storage();
    if (!caches) return [];
    const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
    const records = await Promise.all(names.map(async (name) => new Store(await caches.open(name)).record()));
    return records.filter((record) => record !== null);
  }

  /** @returns {Promise<ModelRecord | null>} */
  async record() {
    const found = await this.#cache.match(`${BASE}record`);
    return found ? found.json() : null;
  }

  /** @param {ModelRecord} record */
  async writeRecord(record) {
    await this.#cache.put(`${BASE}record`, new Response(JSON.stringify(record)));
  }

  /** @returns {Promise<Uint8Array | null>} */
  async manifest() {
    const found = await this.#cache.match(`${BASE}pack.json`);
    return found ? new Uint8Array(await found.arrayBuffer()) : null;
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  async writeManifest(bytes) {
    await this.#cache.put(`${BASE}pack.json`, new Response(bytes));
  }

  /**
   * @param {number} file
   * @param {number} piece
   * @param {number} bytes That it must have.
   * @param {boolean} digested Whether it must have its own digest.
   * @returns {Promise<Uint8Array<ArrayBuffer> | null>} Nothing where it is missing or damaged.
   */
  async read(file, piece, bytes, digested) {
    const found = await this.#cache.match(keyOf(file, piece));
    if (!found) return null;
    const data = await found.arrayBuffer();
    const sound = data.byteLength === bytes && (!digested || (await sha256(data)) === found.headers.get(DIGEST));
    return sound ? new Uint8Array(data) : null;
  }

  /**
   * @param {number} file
   * @param {number} piece
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {boolean} digested Whether to keep its digest.
   */
  async write(file, piece, bytes, digested) {
    const headers = digested ? { [DIGEST]: await sha256(bytes) } : undefined;
    await this.#cache.put(keyOf(file, piece), new Response(bytes, { headers }));
  }

  /**
   * @param {number} file
   * @param {number} piece
   * @returns {Promise<boolean>} Whether there is such an entry, sound or not.
   */
  async has(file, piece) {
    return (await this.#cache.match(keyOf(file, piece))) !== undefined;
  }

  /** @param {number} file All of whose pieces to remove. */
  async removeFile(file) {
    const keys = await this.#cache.keys();
    await Promise.all(keys.filter(({ url }) => url.startsWith(`${BASE}${file}/`)).map((key) => this.#cache.delete(key)));
  }

  /**
   * @param {number[]} files Bytes of each.
   * @returns {Promise<number>} Bytes of the pieces that are there.
   */
  async size(files) {
    let sum = 0;
    for (const { url } of await this.#cache.keys()) {
      const [file, piece] = url.slice(BASE.length).split('/').map(Number);
      if (piece !== undefined && files[file] !== undefined) sum += pieceBytes(files[file], piece);
    }
    return sum;
  }
}

/**
 * @param {number} total Bytes of the file.
 * @param {number} piece
 * @returns {number} Bytes of the piece.
 */
export function pieceBytes(total, piece) {
  return Math.max(0, Math.min(PIECE_BYTES, total - piece * PIECE_BYTES));
}

/**
 * @param {BufferSource} bytes
 * @returns {Promise<string>} In hex.
 */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {number} file
 * @param {number} piece
 */
function keyOf(file, piece) {
  return `${BASE}${file}/${piece}`;
}
