/** Medians, quantiles and ratios. */

/**
 * @param {readonly number[]} values Not empty.
 * @param {number} share 0 to 1.
 * @returns {number} With linear interpolation between neighbours.
 */
export function quantile(values, share) {
  if (values.length === 0) throw new Error('a quantile of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** @param {readonly number[]} values */
export const median = (values) => quantile(values, 0.5);

/**
 * @typedef {object} Spread
 * @property {number} n
 * @property {number} median
 * @property {number} p10
 * @property {number} p90
 * @property {number} min
 * @property {number} max
 */

/**
 * @param {readonly number[]} values
 * @returns {Spread}
 */
export function spread(values) {
  return {
    n: values.length,
    median: median(values),
    p10: quantile(values, 0.1),
    p90: quantile(values, 0.9),
    min: Math.min(...values),
    max: Math.max(...values),
  };
}

/**
 * @typedef {object} Ratio How many times as long one takes as another.
 * @property {number} paired Median over the messages of the ratio of the two medians of that message.
 * @property {number} p10 Of the ratios of the messages.
 * @property {number} p90
 * @property {number} of_medians Ratio of the medians over everything.
 */

/**
 * @param {readonly number[][]} theirs [message][round]
 * @param {readonly number[][]} ours [message][round], of the same messages.
 * @returns {Ratio}
 */
export function ratio(theirs, ours) {
  const each = theirs.map((times, message) => median(times) / median(ours[message]));
  return {
    paired: median(each),
    p10: quantile(each, 0.1),
    p90: quantile(each, 0.9),
    of_medians: median(theirs.flat()) / median(ours.flat()),
  };
}
