/*
 * Serves a page from what it fetched before, where there is no network.
 *
 * The network always comes first, so nothing old is shown while there is one. Only the page's own
 * documents, scripts, styles, images and fonts, WebAssembly, and models of up to 64 MiB are kept;
 * what an application asks of its server is none of this worker's business, and larger models are
 * kept by the package's model cache. A classic script, because not all browsers take modules here.
 */

(() => {
  const CACHE = 'relayops-intent/offline/1';
  const MAX_BYTES = 64 * 1024 * 1024;
  /** Most entries; those that were fetched longest ago go first, such as the scripts of old builds. */
  const MAX_ENTRIES = 300;
  const KINDS = ['document', 'script', 'worker', 'sharedworker', 'style', 'image', 'font', 'manifest'];
  const NAMES = /\.(?:wasm|gguf|gguf-part)$|\/pack[^/]*\.json$/;

  const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

  /** @param {Request} request */
  function isOurs(request) {
    const { origin, pathname } = new URL(request.url);
    if (request.method !== 'GET' || origin !== worker.location.origin) return false;
    if (request.headers.has('range') || request.headers.has('authorization') || request.cache === 'no-store') return false;
    return KINDS.includes(request.destination) || NAMES.test(pathname);
  }

  /** @param {Response} response */
  function isKept(response) {
    const bytes = Number(response.headers.get('content-length') ?? 0);
    const forbidden = /no-store/.test(response.headers.get('cache-control') ?? '');
    return response.status === 200 && response.type === 'basic' && bytes <= MAX_BYTES && !forbidden;
  }

  /**
   * @param {RequestInfo} request
   * @param {Response} response
   */
  async function keep(request, response) {
    const cache = await caches.open(CACHE);
    await cache.put(request, response);
    const keys = await cache.keys();
    await Promise.all(keys.slice(0, Math.max(0, keys.length - MAX_ENTRIES)).map((key) => cache.delete(key)));
  }

  /**
   * @param {FetchEvent} event
   * @returns {Promise<Response>}
   */
  async function answer(event) {
    const { request } = event;
    try {
      const response = await fetch(request);
      // Without room or permission the page works all the same, while there is a network.
      if (isKept(response)) event.waitUntil(keep(request, response.clone()).catch(() => {}));
      return response;
    } catch (error) {
      const kept = await (await caches.open(CACHE)).match(request, { ignoreVary: true });
      if (kept) return kept;
      throw error;
    }
  }

  /** @param {string} url */
  async function fetchAndKeep(url) {
    const response = await fetch(url);
    if (isKept(response)) await keep(url, response);
  }

  worker.addEventListener('install', () => void worker.skipWaiting());
  worker.addEventListener('activate', (event) => event.waitUntil(worker.clients.claim()));
  worker.addEventListener('fetch', (event) => {
    if (isOurs(event.request)) event.respondWith(answer(event));
  });
  worker.addEventListener('message', (event) => {
    if (event.data?.type !== 'relayops-intent/keep') return;
    const kept = Promise.allSettled(event.data.urls.map(fetchAndKeep));
    event.waitUntil(kept.then(() => event.ports[0]?.postMessage(null)));
  });
})();
