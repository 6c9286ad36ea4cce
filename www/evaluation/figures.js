/**
 * Figures of a model on a labelled set. They are those of the command line's `eval`, and a test holds them equal; the
 * definitions and where they come from stand in `src/eval/metrics` (`gate.rs`, `classification.rs`, `calibration.rs`,
 * `selective.rs`) and, for the thresholds of a cascade, in `src/eval/sweep.rs`.
 *
 * @module
 */

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

/** Bins of the reliability diagram, `BINS` of `calibration.rs`. */
const BINS = 15;

/**
 * What one stage said of a message.
 *
 * @typedef {object} Said
 * @property {string | null} intent `null` where the model failed: that is never the right answer.
 * @property {number | null} confidence
 * @property {boolean} allowed Whether the gate keeps this answer on the device if it is confident enough.
 * @property {boolean} isAboutText Whether the text alone decided, so that no other model is asked.
 */

/**
 * A message of the set with all stages' answers.
 *
 * @typedef {object} Reading
 * @property {string} text
 * @property {string} gold The right label.
 * @property {Said[]} stages In the order in which they are asked.
 */

/**
 * What a message came to at some thresholds.
 *
 * @typedef {object} Outcome
 * @property {string} gold
 * @property {string | null} predicted
 * @property {number} confidence 0 where the message was not classified.
 * @property {boolean} scored Whether there was a distribution.
 * @property {boolean} local
 */

/**
 * @param {string} text
 * @param {string} gold
 * @param {ClassifyResult} result Of a call with a threshold of 1, which asks every stage.
 * @returns {Reading}
 */
export function readingOf(text, gold, result) {
  const stages = (result.stages ?? [result]).map(({ intent, confidence, decision: { reason } }) => ({
    intent: reason.startsWith('error:') ? null : intent,
    confidence,
    allowed: reason === 'confident' || reason === 'low_confidence',
    isAboutText: reason === 'too_long' || reason.startsWith('pattern:'),
  }));
  return { text, gold, stages };
}

/**
 * The answer at other thresholds: of the first stage that is sure, or of the last one.
 *
 * @param {Reading} reading
 * @param {number[]} thresholds One a stage.
 * @returns {Outcome}
 */
export function outcomeAt({ gold, stages }, thresholds) {
  // The engine compares in 32 bits.
  const sure = stages.map(({ confidence }, index) => confidence !== null && confidence >= Math.fround(thresholds[index]));
  const final = stages.findIndex(({ isAboutText }, index) => isAboutText || sure[index]);
  const at = final < 0 ? stages.length - 1 : final;
  const { intent, confidence, allowed } = stages[at];
  return { gold, predicted: intent, confidence: confidence ?? 0, scored: confidence !== null, local: allowed && sure[at] };
}

/** @param {Outcome} outcome */
function isRight({ gold, predicted }) {
  return gold === predicted;
}

/**
 * @param {number} part
 * @param {number} whole
 * @returns {number | null} `null` where there is nothing to divide by.
 */
function rate(part, whole) {
  return whole === 0 ? null : part / whole;
}

/**
 * What the gate does, `GateCounts` of `gate.rs`.
 *
 * @param {Outcome[]} outcomes
 * @param {string[]} alwaysEscalate Labels that the policy never leaves to the device.
 */
export function gateFigures(outcomes, alwaysEscalate) {
  const local = outcomes.filter((outcome) => outcome.local);
  const must = outcomes.filter(({ gold }) => alwaysEscalate.includes(gold));
  const unsafe = must.filter((outcome) => outcome.local).length;
  const right = local.filter(isRight).length;
  return {
    n: outcomes.length,
    local: local.length,
    mustEscalate: must.length,
    unsafeLocal: unsafe,
    coverage: rate(local.length, outcomes.length),
    selectiveAccuracy: rate(right, local.length),
    unsafeLocalRate: rate(unsafe, must.length),
    overEscalation: rate(outcomes.length - must.length - (local.length - unsafe), outcomes.length - must.length),
  };
}

/**
 * `Confusion` of `classification.rs`.
 *
 * @param {Outcome[]} outcomes
 * @param {string[]} labels
 * @returns {{ counts: number[][], failed: number[], accuracy: number | null, macroF1: number }} `counts[gold][predicted]`.
 */
export function confusionOf(outcomes, labels) {
  const counts = labels.map(() => labels.map(() => 0));
  const failed = labels.map(() => 0);
  for (const { gold, predicted } of outcomes) {
    const row = labels.indexOf(gold);
    if (row < 0) continue;
    if (predicted === null) failed[row] += 1;
    else counts[row][labels.indexOf(predicted)] += 1;
  }
  const scores = labels.flatMap((_, at) => {
    const support = counts[at].reduce((sum, count) => sum + count, failed[at]);
    const answered = counts.reduce((sum, row) => sum + row[at], 0);
    return support + answered === 0 ? [] : [(2 * counts[at][at]) / (support + answered)];
  });
  const right = outcomes.filter(isRight).length;
  const macroF1 = scores.length === 0 ? 0 : scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return { counts, failed, accuracy: rate(right, outcomes.length), macroF1 };
}

/**
 * `bins` of `calibration.rs`: confidences in `(low, high]`, the first bin with 0.
 *
 * @param {Outcome[]} outcomes
 * @returns {{ low: number, high: number, n: number, confidence: number, accuracy: number }[]}
 */
export function reliabilityOf(outcomes) {
  const sums = Array.from({ length: BINS }, () => ({ n: 0, right: 0, confidence: 0 }));
  for (const outcome of outcomes) {
    if (!outcome.scored) continue;
    const at = sums.findIndex((_, index) => outcome.confidence <= (index + 1) / BINS);
    const sum = sums[at < 0 ? BINS - 1 : at];
    sum.n += 1;
    sum.right += isRight(outcome) ? 1 : 0;
    sum.confidence += outcome.confidence;
  }
  return sums.map(({ n, right, confidence }, index) => ({
    low: index / BINS,
    high: (index + 1) / BINS,
    n,
    confidence: n === 0 ? 0 : confidence / n,
    accuracy: n === 0 ? 0 : right / n,
  }));
}

/**
 * Expected calibration error, `ece` of `calibration.rs`.
 *
 * @param {ReturnType<typeof reliabilityOf>} bins
 * @returns {number | null}
 */
export function eceOf(bins) {
  const n = bins.reduce((sum, bin) => sum + bin.n, 0);
  return n === 0 ? null : bins.reduce((sum, bin) => sum + (bin.n / n) * Math.abs(bin.accuracy - bin.confidence), 0);
}

/**
 * `RiskCoverage` of `selective.rs`: predictions are accepted from the most certain one down; equal confidences share their
 * errors evenly.
 *
 * @param {Outcome[]} outcomes
 * @returns {{ curve: { coverage: number, risk: number, confidence: number }[], aurc: number }}
 */
export function riskCoverageOf(outcomes) {
  const descending = [...outcomes].sort((a, b) => b.confidence - a.confidence);
  const n = descending.length;
  /** @type {{ coverage: number, risk: number, confidence: number }[]} */
  const curve = [];
  let errors = 0;
  while (curve.length < n) {
    const { confidence } = descending[curve.length];
    const begin = curve.length;
    let end = begin;
    while (end < n && descending[end].confidence === confidence) end += 1;
    const wrong = descending.slice(begin, end).filter((outcome) => !isRight(outcome)).length;
    for (let k = begin + 1; k <= end; k += 1) {
      const accepted = errors + (wrong * (k - begin)) / (end - begin);
      curve.push({ coverage: k / n, risk: accepted / k, confidence });
    }
    errors += wrong;
  }
  const aurc = n === 0 ? 0 : curve.reduce((sum, { risk }) => sum + risk, 0) / n;
  return { curve, aurc };
}
