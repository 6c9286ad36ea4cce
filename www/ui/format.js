/** Numbers as people read them. */

const ONE_DECIMAL = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** @param {number} count */
export function bytes(count) {
  if (count >= 1e9) return `${(count / 1e9).toFixed(2)} GB`;
  if (count >= 1e6) return `${ONE_DECIMAL.format(count / 1e6)} MB`;
  return count >= 1e3 ? `${ONE_DECIMAL.format(count / 1e3)} kB` : `${count} bytes`;
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  return `${ONE_DECIMAL.format(share * 100)} %`;
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  if (milliseconds < 10) return `${ONE_DECIMAL.format(milliseconds)} ms`;
  if (milliseconds < 10_000) return `${WHOLE.format(milliseconds)} ms`;
  return `${ONE_DECIMAL.format(milliseconds / 1000)} s`;
}

/** @param {number} milliseconds Of which nobody knows better. */
export function roughly(milliseconds) {
  const seconds = Math.ceil(milliseconds / 1000);
  return seconds < 90 ? `${seconds} s` : `${WHOLE.format(seconds / 60)} min`;
}

/** @param {number} count */
export function millions(count) {
  return count >= 1e6 ? `${WHOLE.format(count / 1e6)} million` : WHOLE.format(count);
}

/** @param {number} count */
export function whole(count) {
  return WHOLE.format(count);
}

/**
 * @param {number} count
 * @param {string} noun Of one.
 */
export function counted(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** @param {number} value Kept in 32 bits by the engine, hence with digits that mean nothing. */
export function setting(value) {
  return String(Number(value.toPrecision(6)));
}
