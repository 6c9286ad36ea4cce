/**
 * Makes a page work without a network after its first visit, with the package's service worker:
 *
 *     import { enableOffline } from 'relayops-intent/offline';
 *     await enableOffline('/sw.js'); // before IntentClassifier.load()
 *
 * `/sw.js` is a copy of `relayops-intent/service-worker.js`, or imports it by `importScripts`.
 *
 * @module
 */

import { IntentError, describe } from './errors.js';

/** Kinds of requests that carry data and not the page. */
const ASKED = ['fetch', 'xmlhttprequest', 'beacon', 'eventsource'];

/**
 * Resolves when the service worker watches over this page and has what the page has fetched before.
 * On later visits that is at once.
 *
 * @param {string | URL} script Address of the service worker; pages beside and below it are served.
 * @param {{ scope?: string }} [options] As for `navigator.serviceWorker.register`.
 * @throws {IntentError} `unavailable` where the browser has none or refuses it.
 */
export async function enableOffline(script, options) {
  const container = globalThis.navigator?.serviceWorker;
  if (!container) throw new IntentError('unavailable', 'there are no service workers in this context: they need HTTPS or localhost');
  try {
    await container.register(script, options);
  } catch (error) {
    throw new IntentError('unavailable', `${script}: ${describe(error)}`, { cause: error });
  }
  if (container.controller) return;
  await new Promise((resolve) => {
    container.addEventListener('controllerchange', resolve, { once: true });
    if (container.controller) resolve(undefined);
  });
  await keepWhatIsHere(container);
}

/**
 * What was fetched before the service worker came is named to it.
 *
 * @param {ServiceWorkerContainer} container
 */
async function keepWhatIsHere({ controller }) {
  if (!controller) return;
  const entries = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType('resource'));
  // What the application asked its server for stays between the two.
  const fetched = entries.filter(({ initiatorType }) => !ASKED.includes(initiatorType)).map(({ name }) => name);
  const urls = [...new Set([location.href, ...fetched])].filter((url) => new URL(url).origin === location.origin);
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise((resolve) => (port1.onmessage = resolve));
  controller.postMessage({ type: 'relayops-intent/keep', urls }, [port2]);
  await kept;
  port1.close();
}
