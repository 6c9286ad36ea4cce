/**
 * Numbers that are the same in every run.
 *
 * @module
 */

/**
 * Marsaglia's xorshift with 32 bits: the same order in every run.
 *
 * @param {number} seed Not 0.
 * @returns {() => number} Numbers from 0 up to, not including, 1.
 */
export function randomNumbers(seed) {
  let state = seed | 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
