/**
 * The Worker's entry in Node: gives the browser's entry the globals of a Worker that it uses.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
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
  const path = fileURLToPath(url);
  const found = await stat(path).catch(unlessMissing);
  if (!found?.isFile()) return new Response(null, { status: 404, statusText: 'Not Found' });
  const headers = { 'content-length': String(found.size) };
  if (init?.method === 'HEAD') return new Response(null, { headers });
  const file = createReadStream(path);
  // So that a file that may not be read fails here and not with its first byte.
  await new Promise((resolve, reject) => file.once('open', resolve).once('error', reject));
  return new Response(/** @type {ReadableStream<Uint8Array>} */ (Readable.toWeb(file)), { headers });
};

/**
 * @param {NodeJS.ErrnoException} error
 * @returns {null} For a file that is not there, as a server's 404.
 */
function unlessMissing(error) {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
  throw error;
}

Object.assign(globalThis, {
  fetch: fetchAnything,
  postMessage: (/** @type {unknown} */ message) => port.postMessage(message),
  addEventListener: (/** @type {string} */ type, /** @type {(event: { data: unknown }) => void} */ listener) => {
    if (type === 'message') port.on('message', (data) => listener({ data }));
  },
});

await import('../worker.js');
