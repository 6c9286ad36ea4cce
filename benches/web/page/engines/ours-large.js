/**
 * This project's package with a large model.
 *
 * @module
 */

import { importPackage } from './ours.js';

/** @typedef {import('./large.js').Sample} Sample */

/**
 * @param {Extract<import('./large.js').LargeChoice, { kind: 'ours' }>} choice
 * @returns {Promise<import('./large.js').LargeEngine>}
 */
export async function loadOursLarge({ base, pack, config, threads }) {
  const { IntentClassifier } = await importPackage(base);
  const classifier = await IntentClassifier.load({ pack, threads, cache: false, ...(config && { config }) });
  return {
    about: { ...(await classifier.info()) },
    tasks: {
      message: ({ texts }) => timed(() => classifier.classify(texts[0])),
      enter: async ({ texts }) => {
        const typing = classifier.session();
        await typing.update(texts[0]);
        const sample = await timed(() => typing.submit());
        typing.close();
        return sample;
      },
      batch: async ({ texts }) => {
        const start = performance.now();
        const settled = await classifier.classifyBatch(texts);
        const ms = performance.now() - start;
        const failed = settled.find((one) => one.status === 'rejected');
        if (failed?.status === 'rejected') throw failed.reason;
        return { ms, counts: { messages: settled.length } };
      },
    },
    free: async () => classifier.dispose(),
  };
}

/**
 * @param {() => Promise<import('/pkg/index.js').ClassifyResult>} ask
 * @returns {Promise<Sample>}
 */
async function timed(ask) {
  const start = performance.now();
  const { intent, ms, decision } = await ask();
  const all = performance.now() - start;
  if (decision.reason.startsWith('error:')) throw new Error(`ours answered with ${decision.reason}`);
  return { ms: all, engineMs: ms, label: intent };
}
