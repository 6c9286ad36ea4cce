/**
 * This project's package, as a page uses it.
 *
 * @module
 */

/** @typedef {import('/pkg/index.js').LoadOptions} LoadOptions */

/**
 * @param {string} [pack] Address of a model; without it the package loads its own, the compact one.
 * @param {LoadOptions['threads']} [threads]
 * @param {LoadOptions['onProgress']} [onProgress]
 * @param {string} [base] Address of the package's modules.
 * @returns {Promise<import('./engine.js').Engine>}
 */
export async function loadOurs(pack, threads, onProgress, base = '/pkg') {
  const { IntentClassifier } = /** @type {typeof import('/pkg/index.js')} */ (await import(`${base}/index.js`));
  const options = /** @type {LoadOptions} */ ({ threads, onProgress, ...(pack !== undefined && { pack }) });
  const classifier = await IntentClassifier.load(options);
  return {
    classify: async (text) => {
      const { intent, ms } = await classifier.classify(text);
      return { label: intent, engineMs: ms };
    },
    about: async () => ({ ...(await classifier.info()) }),
  };
}
