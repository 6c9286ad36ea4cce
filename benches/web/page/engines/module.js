/**
 * The instrumented modules in a Worker of their own.
 *
 * @module
 */

/** @typedef {import('./module-messages.js').FromModule} FromModule */
/** @typedef {import('./module-messages.js').ToModule} ToModule */

/**
 * @param {Extract<import('./large.js').LargeChoice, { kind: 'module' }>} choice
 * @returns {Promise<import('./large.js').LargeEngine>}
 */
export async function loadModule({ model, threads }) {
  const worker = new Worker(new URL('./module-worker.js', import.meta.url), { type: 'module' });
  const { about } = await request(worker, { type: 'load', model, threads }, 'loaded');
  return {
    about,
    tasks: {
      prefill: ({ tokens }) => request(worker, { type: 'prefill', tokens }, 'took'),
      profile: ({ texts }) => request(worker, { type: 'profile', text: texts[0] }, 'took'),
    },
    free: async () => worker.terminate(),
  };
}

/**
 * The kernels' rates, on one thread.
 *
 * @param {Omit<Extract<ToModule, { type: 'rates' }>, 'type'>[]} shapes
 * @returns {Promise<import('./module-messages.js').Rates[]>}
 */
export async function kernelRates(shapes) {
  const worker = new Worker(new URL('./module-worker.js', import.meta.url), { type: 'module' });
  await request(worker, { type: 'load', model: null, threads: 1 }, 'loaded');
  const rates = [];
  for (const shape of shapes) rates.push((await request(worker, { type: 'rates', ...shape }, 'rates')).rates);
  worker.terminate();
  return rates;
}

/**
 * One at a time, as the benchmark asks.
 *
 * @template {FromModule['type']} T
 * @param {Worker} worker
 * @param {ToModule} message
 * @param {T} wanted
 * @returns {Promise<Extract<FromModule, { type: T }>>}
 */
function request(worker, message, wanted) {
  return new Promise((resolve, reject) => {
    worker.onmessage = (/** @type {MessageEvent<FromModule>} */ { data }) => {
      if (data.type === wanted) resolve(/** @type {Extract<FromModule, { type: T }>} */ (data));
      else reject(new Error(data.type === 'error' ? `the instrumented module: ${data.message}` : `unexpected answer ${data.type}`));
    };
    worker.onerror = (event) => reject(new Error(`the instrumented module's Worker: ${event.message || 'could not be loaded'}`));
    worker.postMessage(message);
  });
}
