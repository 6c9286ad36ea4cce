/**
 * This project's package, as a page uses it.
 *
 * @module
 */

import { IntentClassifier } from '/pkg/index.js';

/** @typedef {import('/pkg/index.js').LoadOptions} LoadOptions */

/**
 * @param {string} [pack] Address of a model; without it the package loads its own, the compact one.
 * @param {LoadOptions['threads']} [threads]
 * @param {LoadOptions['onProgress']} [onProgress]
 * @param {string} [base] Address of the package's modules, where they are not the plain ones.
 * @returns {Promise<import('./engine.js').Engine>}
 */
export async function loadOurs(pack, threads, onProgress, base) {
  const Classifier = base === undefined ? IntentClassifier : (await importPackage(base)).IntentClassifier;
  const options = /** @type {LoadOptions} */ ({ threads, onProgress, ...(pack !== undefined && { pack }) });
  const classifier = await Classifier.load(options);
  return {
    classify: async (text) => {
      const { intent, ms } = await classifier.classify(text);
      return { label: intent, engineMs: ms };
    },
    about: async () => ({ ...(await classifier.info()) }),
  };
}

/**
 * @param {string} base Address of the package's modules.
 * @returns {Promise<typeof import('/pkg/index.js')>}
 */
export function importPackage(base) {
  return import(`${base}/index.js`);
}
