/**
 * What the hooks of a test file set up.
 *
 * @template T
 * @param {T | undefined} value
 * @returns {T}
 */
export function defined(value) {
  if (value === undefined) throw new Error('used before the hooks of the test file ran');
  return value;
}
