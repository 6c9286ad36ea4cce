/**
 * The peer's Worker: tokenizer and session as somebody who knows them would set them up. A message is not padded,
 * and no mask or token types are computed that one message alone does not need.
 *
 * @module
 */

import { InferenceSession, Tensor, env } from '/vendor/onnxruntime-web/ort.wasm.min.mjs';
import { Tokenizer } from '/vendor/tokenizers/tokenizers.min.mjs';

/** @typedef {import('./ort-messages.js').FromOrt} FromOrt */
/** @typedef {import('./ort-messages.js').ToOrt} ToOrt */

/** @type {{ session: InferenceSession, tokenizer: Tokenizer } | null} */
let loaded = null;

/**
 * @param {string} url
 * @returns {Promise<Response>}
 */
async function fetchOk(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response;
}

/**
 * @param {string} model
 * @param {number} threads
 * @returns {Promise<FromOrt>}
 */
async function load(model, threads) {
  env.wasm.numThreads = threads;
  const [bytes, description] = await Promise.all([
    fetchOk(model).then((response) => response.arrayBuffer()),
    fetchOk('/peer/tokenizer.json').then((response) => response.json()),
  ]);
  const session = await InferenceSession.create(new Uint8Array(bytes), {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  loaded = { session, tokenizer: new Tokenizer(description, {}) };
  // onnxruntime-web lowers the number by itself where it can't have threads.
  return { type: 'loaded', version: env.versions.web ?? 'unknown', threads: env.wasm.numThreads };
}

/**
 * @param {string} text
 * @returns {Promise<FromOrt>}
 */
async function classify(text) {
  if (!loaded) throw new Error('no model is loaded');
  const start = performance.now();
  const { ids } = loaded.tokenizer.encode(text);
  const input = new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]);
  const { logits } = await loaded.session.run({ input_ids: input });
  const values = Array.from(/** @type {Float32Array} */ (logits.data));
  return { type: 'answer', ids, logits: values, ms: performance.now() - start };
}

addEventListener('message', async (/** @type {MessageEvent<ToOrt>} */ { data }) => {
  /** @type {FromOrt} */
  let answer;
  try {
    answer = data.type === 'load' ? await load(data.model, data.threads) : await classify(data.text);
  } catch (error) {
    answer = { type: 'error', message: String(error) };
  }
  postMessage(answer);
});
