/**
 * The peer, onnxruntime-web, in a Worker of its own.
 *
 * @module
 */

/** @typedef {import('./engine.js').Answer} Answer */
/** @typedef {import('./ort-messages.js').FromOrt} FromOrt */
/** @typedef {import('./ort-messages.js').ToOrt} ToOrt */

/**
 * @param {'fp32' | 'int8'} precision
 * @param {number} threads
 * @returns {Promise<import('./engine.js').Engine>}
 */
export async function loadOrt(precision, threads) {
  const worker = new Worker(new URL('./ort-worker.js', import.meta.url), { type: 'module' });
  const loaded = await request(worker, { type: 'load', model: `/peer/${precision}.onnx`, threads });
  if (loaded.type !== 'loaded') throw new Error(`unexpected answer ${loaded.type}`);
  return {
    classify: async (text) => {
      const answer = await request(worker, { type: 'classify', text });
      if (answer.type !== 'answer') throw new Error(`unexpected answer ${answer.type}`);
      return { label: null, engineMs: answer.ms, ids: answer.ids, logits: answer.logits };
    },
    about: async () => ({ version: loaded.version, threads: loaded.threads }),
  };
}

/**
 * One at a time, as the benchmark asks.
 *
 * @param {Worker} worker
 * @param {ToOrt} message
 * @returns {Promise<FromOrt>}
 */
function request(worker, message) {
  return new Promise((resolve, reject) => {
    worker.onmessage = (/** @type {MessageEvent<FromOrt>} */ { data }) => {
      if (data.type === 'error') reject(new Error(`onnxruntime-web: ${data.message}`));
      else resolve(data);
    };
    worker.onerror = (event) => reject(new Error(`onnxruntime-web's Worker: ${event.message || 'could not be loaded'}`));
    worker.postMessage(message);
  });
}
