/**
 * One model on its way into the engine: what is kept comes from the cache, what is missing comes
 * from the network and is kept. Where the cache refuses, everything comes from the network.
 *
 * @module
 */

import { describe } from '../errors.js';
import { lock } from './locks.js';
import { readRange } from './ranged.js';
import { PIECE_BYTES, PREFIX, Store, pieceBytes } from './store.js';

/** @typedef {import('./store.js').ModelRecord} ModelRecord */
/** @typedef {import('../engine/progress.js').ProgressReporter} ProgressReporter */

/** Bytes that must stay free beside the model. */
const SPARE_BYTES = 16 * 1024 * 1024;

export class CachedModel {
  /** @type {ModelRecord} */
  #record;
  /** Nothing once the cache has refused. @type {Store | null} */
  #store;
  /** @type {() => void} */
  #release;
  /** @type {ProgressReporter} */
  #progress;
  /** @type {AbortSignal | undefined} */
  #signal;
  /** Files of which a byte came from the cache. @type {Set<number>} */
  #reused = new Set();

  /**
   * @param {ModelRecord} record
   * @param {Store | null} store
   * @param {() => void} release
   * @param {ProgressReporter} progress
   * @param {AbortSignal} [signal]
   */
  constructor(record, store, release, progress, signal) {
    this.#record = record;
    this.#store = store;
    this.#release = release;
    this.#progress = progress;
    this.#signal = signal;
  }

  /**
   * Makes ready to read and write. While another tab loads the same model this waits for it.
   *
   * @param {Omit<ModelRecord, 'complete' | 'savedAt'>} wanted
   * @param {ProgressReporter} progress Told what becomes of it.
   * @param {AbortSignal} [signal] Ends waiting, and transfers, which fail then.
   * @returns {Promise<CachedModel>}
   */
  static async open(wanted, progress, signal) {
    const record = { ...wanted, files: [...wanted.files], complete: false, savedAt: Date.now() };
    let release = () => {};
    try {
      const store = await Store.open(wanted.id);
      let found = await store.record();
      if (!found?.complete) {
        release = await lock(PREFIX + wanted.id, () => progress.cacheIs('waiting'), signal);
        found = await store.record();
      }
      if (found?.complete) {
        release();
        progress.cacheIs('reading');
        return new CachedModel(found, store, () => {}, progress, signal);
      }
      await makeRoom(record, store);
      await store.writeRecord(record);
      progress.cacheIs('writing');
      return new CachedModel(record, store, release, progress, signal);
    } catch (error) {
      release();
      progress.cacheIs('memory', describe(error));
      return new CachedModel(record, null, () => {}, progress, signal);
    }
  }

  /**
   * @param {number} file
   * @returns {number | null} Its bytes, `null` while they are not known.
   */
  total(file) {
    return this.#record.files[file] || null;
  }

  /**
   * @param {number} file Whose length is known.
   * @param {string} url
   * @param {Response | null} [opened] A response with the whole file.
   * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>, void>} The file's bytes in order.
   */
  async *chunks(file, url, opened = null) {
    const total = this.#record.files[file];
    let at = 0;
    try {
      while (at < total) {
        const kept = await this.#kept(file, at / PIECE_BYTES);
        if (kept) {
          await opened?.body?.cancel();
          opened = null;
          at += kept.byteLength;
          yield kept;
          continue;
        }
        const response = at === 0 ? opened : null;
        if (response) opened = null;
        const to = await this.#nextKept(file, at / PIECE_BYTES + 1);
        const { validator, announced = false } = this.#record;
        const open = announced && to === total;
        yield* this.#fetched(file, { url, from: at, to, total, validator, open, opened: response, signal: this.#signal });
        at = to;
      }
    } finally {
      await opened?.body?.cancel();
    }
  }

  /**
   * @param {number} file
   * @param {number} piece
   * @returns {Promise<Uint8Array<ArrayBuffer> | null>}
   */
  async #kept(file, piece) {
    if (!this.#store) return null;
    const bytes = pieceBytes(this.#record.files[file], piece);
    try {
      const found = await this.#store.read(file, piece, bytes, this.#digested());
      if (found) {
        this.#reused.add(file);
        this.#progress.fromCache(bytes);
      }
      return found;
    } catch (error) {
      this.#refused(error);
      return null;
    }
  }

  /**
   * @param {number} file
   * @param {number} from First piece to look for.
   * @returns {Promise<number>} Where in the file the next piece begins that need not be fetched.
   */
  async #nextKept(file, from) {
    const total = this.#record.files[file];
    try {
      let piece = from;
      while (piece * PIECE_BYTES < total && !(await this.#store?.has(file, piece))) piece += 1;
      return Math.min(total, piece * PIECE_BYTES);
    } catch (error) {
      this.#refused(error);
      return total;
    }
  }

  /**
   * Passes bytes on as they come, and keeps them piece by piece.
   *
   * @param {number} file
   * @param {Parameters<typeof readRange>[0]} part
   * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>, void>}
   */
  async *#fetched(file, part) {
    let at = part.from;
    /** @type {Uint8Array<ArrayBuffer> | null} */
    let piece = null;
    /** One write is under way at most: memory stays bounded, and the network need not wait. */
    let writing = Promise.resolve();
    for await (const chunk of readRange(part)) {
      for (let taken = 0; taken < chunk.byteLength; ) {
        if (at >= part.total) {
          await writing;
          await this.#isLonger();
          yield /** @type {Uint8Array<ArrayBuffer>} */ (chunk.subarray(taken));
          break;
        }
        const index = Math.floor(at / PIECE_BYTES);
        const begin = index * PIECE_BYTES;
        const size = pieceBytes(this.#record.files[file], index);
        piece ??= new Uint8Array(size);
        const some = chunk.subarray(taken, taken + size - (at - begin));
        piece.set(some, at - begin);
        at += some.byteLength;
        taken += some.byteLength;
        yield /** @type {Uint8Array<ArrayBuffer>} */ (some);
        if (at - begin < size) continue;
        const whole = piece;
        piece = null;
        await writing;
        writing = this.#keep(file, index, whole);
      }
    }
    await writing;
  }

  /** The pieces are those of a file of another length, then. */
  async #isLonger() {
    if (!this.#store) return;
    this.#store = null;
    await Store.remove(this.#record.id).catch(() => {});
    this.#progress.cacheIs('memory', 'the server does not say how long the file is');
  }

  /**
   * Keeps a file whose length was not known before it was there.
   *
   * @param {number} file
   * @param {Uint8Array<ArrayBuffer>} bytes All of it, and sound.
   */
  async keepWhole(file, bytes) {
    this.#record.files[file] = bytes.byteLength;
    for (let piece = 0; piece * PIECE_BYTES < bytes.byteLength; piece += 1) {
      await this.#keep(file, piece, bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES));
    }
  }

  /**
   * @param {number} file
   * @param {number} piece
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #keep(file, piece, bytes) {
    try {
      await this.#store?.write(file, piece, bytes, this.#digested());
    } catch (error) {
      // What can't be kept whole would only take up room.
      await Store.remove(this.#record.id).catch(() => {});
      this.#refused(error);
    }
  }

  /**
   * Throws a file out that the engine found damaged.
   *
   * @param {number} file
   * @returns {Promise<boolean>} Whether the damage may have been the cache's: then it is worth
   *   fetching the file anew.
   */
  async heal(file) {
    await this.#store?.removeFile(file).catch((error) => this.#refused(error));
    return this.#reused.delete(file);
  }

  /** Keeps nothing of it: what the server sends is not what was promised. */
  async discard() {
    if (this.#store) await Store.remove(this.#record.id).catch(() => {});
    this.#store = null;
  }

  /**
   * All bytes are there and sound. Older versions from the same address go.
   *
   * @param {Uint8Array<ArrayBuffer>} [manifest] Of a pack or an adapter.
   */
  async commit(manifest) {
    if (!this.#store || this.#record.complete) return;
    try {
      if (manifest) await this.#store.writeManifest(manifest);
      const { announced: _, ...record } = this.#record;
      await this.#store.writeRecord({ ...record, complete: true, savedAt: Date.now() });
      const others = await Store.records();
      const older = others.filter(({ id, url }) => url === this.#record.url && id !== this.#record.id);
      await Promise.all(older.map(({ id }) => Store.remove(id)));
    } catch (error) {
      this.#refused(error);
    }
  }

  /** Lets other tabs go on. */
  close() {
    this.#release();
  }

  /** Files of a pack or an adapter have digests in its manifest, which are checked; single files have none. */
  #digested() {
    return this.#record.kind === 'gguf';
  }

  /** @param {unknown} error */
  #refused(error) {
    this.#store = null;
    this.#progress.cacheIs('memory', describe(error));
  }
}

/**
 * @param {ModelRecord} record
 * @param {Store} store
 * @throws {Error} Where the browser will not give the room.
 */
async function makeRoom({ id, files }, store) {
  const estimate = await globalThis.navigator?.storage?.estimate?.();
  if (estimate?.quota === undefined || estimate.usage === undefined) return;
  const missing = files.reduce((sum, bytes) => sum + bytes, 0) - (await store.size(files));
  const free = estimate.quota - estimate.usage;
  if (missing + SPARE_BYTES > free) {
    await Store.remove(id);
    throw new DOMException(`${missing} bytes are to be kept, and ${free} are free`, 'QuotaExceededError');
  }
}
