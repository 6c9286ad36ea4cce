/** The package's cache in a page: what it holds, damage to it, and a browser that refuses it. */

import assert from 'node:assert/strict';

/** @typedef {import('./browser.js').Page} Page */
/** @typedef {import('/pkg/index.js').LoadProgress} LoadProgress */

/** @param {Page} page */
export function list(page) {
  return page.evaluate(async () => (await import('/pkg/cache/index.js')).list());
}

/** @param {LoadProgress[]} progress */
export function lastDownload(progress) {
  const last = progress.findLast((step) => step.phase === 'download');
  assert.ok(last, JSON.stringify(progress));
  return last;
}

/** @param {LoadProgress[]} progress */
export function states(progress) {
  return [...new Set(progress.flatMap((step) => step.cache?.state ?? []))];
}

/** Changes a byte of one entry. @param {Page} page @param {string} entry */
export function damage(page, entry) {
  return page.evaluate(async (entry) => {
    const [name] = (await caches.keys()).filter((name) => name.startsWith('relayops-intent/models/'));
    const cache = await caches.open(name);
    const key = `https://relayops-intent.invalid/${entry}`;
    const response = await cache.match(key);
    if (!response) throw new Error(`${entry} is not there`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    bytes[bytes.length >> 1] ^= 1;
    await cache.put(key, new Response(bytes, { headers: response.headers }));
  }, entry);
}

/** Puts `script` before the Worker's own modules. @param {string} script */
export function inWorker(script) {
  return async (/** @type {import('../lib/browser.js').BrowserContext} */ context) => {
    await context.route('**/storage-mock.js', (route) => route.fulfill({ body: script, contentType: 'text/javascript', headers: { 'cross-origin-embedder-policy': 'require-corp' } }));
    await context.route('**/pkg/worker.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `import './storage-mock.js';\n${await response.text()}` });
    });
  };
}
