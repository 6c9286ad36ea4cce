/**
 * Hands a pack's files to the engine, which verifies each at its end.
 *
 * @module
 */

/** @typedef {import('../cache/cached-model.js').CachedModel} CachedModel */
/** @typedef {import('./progress.js').ProgressReporter} ProgressReporter */
/** @typedef {import('./wasm-module.d.ts').PackLoader} PackLoader */
/** @typedef {ReturnType<PackLoader['files']>} PackFiles */

/** What the engine found wrong with a file. */
class Refused {
  /**
   * @param {number} file
   * @param {unknown} error
   */
  constructor(file, error) {
    this.file = file;
    this.error = error;
  }
}

/**
 * @param {PackLoader} loader
 * @param {PackFiles} files
 * @param {Pick<ProgressReporter, 'add'>} progress
 * @param {(index: number) => Promise<AsyncIterable<Uint8Array>>} open
 */
export async function pushFiles(loader, files, progress, open) {
  try {
    await push(loader, files, progress, open);
  } catch (error) {
    throw error instanceof Refused ? error.error : error;
  }
}

/**
 * The same through the cache. The engine can't take bytes back, so it starts anew when it finds a
 * file damaged that came from the cache: that file is fetched again, all others are read again.
 *
 * @param {object} given
 * @param {CachedModel} given.cached
 * @param {PackLoader} given.loader
 * @param {() => PackLoader} given.again A new loader for the same pack.
 * @param {PackFiles} given.files
 * @param {ProgressReporter} given.progress
 * @param {(path: string) => string} given.address
 * @param {Uint8Array<ArrayBuffer>} given.manifest
 */
export async function receiveCached({ cached, loader, again, files, progress, address, manifest }) {
  const open = async (/** @type {number} */ index) => cached.chunks(index, address(files[index].path));
  const counted = new HighWater(progress);
  try {
    for (let current = loader; ; current = again()) {
      try {
        await push(current, files, counted, open);
        break;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        // Each time round takes one more file out of the cache, so this ends.
        if (!(await cached.heal(error.file))) throw error.error;
        counted.restart();
      }
    }
    await cached.commit(manifest);
  } finally {
    cached.close();
  }
}

/**
 * @param {PackLoader} loader
 * @param {PackFiles} files
 * @param {Pick<ProgressReporter, 'add'>} progress
 * @param {(index: number) => Promise<AsyncIterable<Uint8Array>>} open
 * @throws {Refused} Whatever the engine throws.
 */
async function push(loader, files, progress, open) {
  for (const index of files.keys()) {
    for await (const chunk of await open(index)) {
      try {
        loader.push(index, chunk);
      } catch (error) {
        throw new Refused(index, error);
      }
      progress.add(chunk.byteLength);
    }
  }
}

/** Progress that does not fall when the same bytes come again. */
export class HighWater {
  /** @type {ProgressReporter} */
  #progress;
  #highest = 0;
  #now = 0;

  /** @param {ProgressReporter} progress */
  constructor(progress) {
    this.#progress = progress;
  }

  /** @param {number} bytes */
  add(bytes) {
    this.#now += bytes;
    if (this.#now <= this.#highest) return;
    this.#progress.add(this.#now - this.#highest);
    this.#highest = this.#now;
  }

  restart() {
    this.#now = 0;
  }
}
