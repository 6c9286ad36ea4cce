/**
 * The Worker's entry in Node: gives the browser's entry the globals of a Worker that it uses.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parentPort } from 'node:worker_threads';

const port = parentPort;
if (!port) throw new Error('this module runs in a worker thread only');

const fetchOverNetwork = globalThis.fetch;

/** Node's own fetch knows no files. @type {typeof fetch} */
const fetchAnything = async (resource, init) => {
  const url = String(resource);
  if (!url.startsWith('file:')) return fetchOverNetwork(resource, init);
  const file = createReadStream(fileURLToPath(url));
  // So that a missing file fails here and not with its first byte.
  await new Promise((resolve, reject) => file.once('open', resolve).once('error', reject));
  return new Response(/** @type {ReadableStream<Uint8Array>} */ (Readable.toWeb(file)));
};

Object.assign(globalThis, {
  fetch: fetchAnything,
  postMessage: (/** @type {unknown} */ message) => port.postMessage(message),
  addEventListener: (/** @type {string} */ type, /** @type {(event: { data: unknown }) => void} */ listener) => {
    if (type === 'message') port.on('message', (data) => listener({ data }));
  },
});

await import('../worker.js');
