/**
 * One tab at a time writes a model.
 *
 * @module
 */

/**
 * Waits until nobody else has the lock. The browser releases it when its holder ends or dies.
 *
 * @param {string} name
 * @param {() => void} onWait Called if somebody else has it.
 * @param {AbortSignal} [signal] Ends the wait, which fails then.
 * @returns {Promise<() => void>} Releases it. Where there are no locks, at once: then two tabs may
 *   fetch the same bytes, but still write the same.
 */
export async function lock(name, onWait, signal) {
  const locks = globalThis.navigator?.locks;
  if (!locks) return () => {};
  return (await held(locks, name, { ifAvailable: true })) ?? (onWait(), /** @type {() => void} */ (await held(locks, name, { signal })));
}

/**
 * @param {LockManager} locks
 * @param {string} name
 * @param {LockOptions} options
 * @returns {Promise<(() => void) | null>}
 */
function held(locks, name, options) {
  return new Promise((resolve, reject) => {
    const work = (/** @type {Lock | null} */ lock) => {
      if (!lock) return resolve(null);
      return new Promise((release) => resolve(() => release(undefined)));
    };
    locks.request(name, options, work).catch(reject);
  });
}
