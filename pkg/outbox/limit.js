/**
 * An end to waiting for what others may never settle.
 *
 * @module
 */

/**
 * @template T
 * @param {T | PromiseLike<T>} given
 * @param {number} ms Longest that it may take, in milliseconds.
 * @returns {Promise<T>} Rejects where it takes longer.
 */
export async function limited(given, ms) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return /** @type {T} */ (await Promise.race([given, late]));
  } finally {
    clearTimeout(timer);
  }
}
