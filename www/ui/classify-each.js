/** Many messages without holding the page up. */

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */

/** What became of a message. @typedef {{ result: ClassifyResult } | { error: string }} Outcome */

/** Rows between two breaths of the page. */
export const CHUNK_ROWS = 50;

/**
 * Classifies each text, those that repeat once. Nothing is sent because of it.
 *
 * @param {IntentClassifier} classifier
 * @param {string[]} texts
 * @param {object} options
 * @param {AbortSignal} options.signal
 * @param {number} [options.threshold] In place of each stage's own.
 * @param {(outcomes: Outcome[]) => void} options.onOutcomes All so far, in the order of the texts, some rows at a time.
 * @param {(rows: number) => void} options.onProgress How many rows are done at least, after each message.
 * @returns {Promise<Outcome[]>}
 * @throws {import('/pkg/index.js').IntentError} `aborted`, `disposed`, `worker_failed`
 */
export async function classifyEach(classifier, texts, { signal, threshold, onOutcomes, onProgress }) {
  /** @type {Map<string, Outcome>} */
  const known = new Map();
  /** @type {Outcome[]} */
  const outcomes = [];
  while (outcomes.length < texts.length) {
    const rows = texts.slice(outcomes.length, outcomes.length + CHUNK_ROWS);
    const fresh = Array.from(new Set(rows)).filter((text) => !known.has(text));
    const onEach = (/** @type {{ done: number }} */ { done }) => onProgress(outcomes.length + done);
    for (const [index, settled] of (await classifier.classifyBatch(fresh, { signal, threshold, onProgress: onEach })).entries()) {
      known.set(fresh[index], settled.status === 'fulfilled' ? { result: settled.value } : { error: codeOf(settled.reason) });
    }
    for (const text of rows) outcomes.push(/** @type {Outcome} */ (known.get(text)));
    onOutcomes(outcomes);
    await breath();
    signal.throwIfAborted();
  }
  return outcomes;
}

/** @param {unknown} reason */
function codeOf(reason) {
  return String(/** @type {{ code?: unknown }} */ (reason)?.code ?? 'error');
}

/**
 * A turn of the event loop, in which the page draws and hears clicks. Not by a timer: those of a page in the background
 * go off once a second.
 *
 * @returns {Promise<void>}
 */
function breath() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
