/**
 * The model's bytes as a stream, wherever they come from.
 *
 * @module
 */

import { IntentError, describe } from '../errors.js';
import { MAX_CHUNK_BYTES } from '../protocol.js';

/** @typedef {import('./chunk-feed.js').ChunkFeed} ChunkFeed */

/**
 * @typedef {object} ByteSource
 * @property {string} name For error messages.
 * @property {number | null} total Bytes to expect, `null` if not known.
 * @property {boolean} exact Whether `total` is what will arrive, or only announced.
 * @property {AsyncIterable<Uint8Array>} chunks In file order, of at most `MAX_CHUNK_BYTES`.
 * @property {() => void} [cancel] Ends a transfer of which nothing was read.
 */

/**
 * @param {Exclude<import('../protocol.js').PackSource, import('../protocol.js').PackFolder>} source
 * @param {ChunkFeed} feed
 * @returns {Promise<ByteSource>}
 * @throws {IntentError} `network`
 */
export async function openSource(source, feed) {
  switch (source.kind) {
    case 'url':
      return openUrl(source.url);
    case 'blob':
      return openBlob(source.blob, source.name);
    case 'feed':
      return { name: source.name, total: source.bytes, exact: true, chunks: split(readFeed(feed)) };
  }
}

/**
 * @param {Blob} blob
 * @param {string} name
 * @returns {ByteSource} Fails with `io`.
 */
export function openBlob(blob, name) {
  const wrap = (/** @type {unknown} */ error) => new IntentError('io', `${name}: ${describe(error)}`, { cause: error });
  return { name, total: blob.size, exact: true, chunks: split(readStream(blob.stream(), wrap)) };
}

/**
 * Fetches `url` and makes every way of failing a `network` error that names it.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function fetchOk(url, signal, init) {
  const response = await fetchIfThere(url, signal, init);
  if (!response) throw new IntentError('network', `${url}: HTTP 404`);
  return response;
}

/**
 * As `fetchOk`, but what is not there is no failure.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @param {RequestInit} [init]
 * @returns {Promise<Response | null>} `null` for HTTP 404.
 */
async function fetchIfThere(url, signal, init) {
  let response;
  try {
    response = await fetch(url, { ...init, signal });
  } catch (error) {
    throw new IntentError('network', `${url}: ${describe(error)}`, { cause: error });
  }
  if (!response.ok) {
    await response.body?.cancel();
    if (response.status === 404) return null;
    throw new IntentError('network', `${url}: HTTP ${response.status} ${response.statusText}`.trimEnd());
  }
  return response;
}

/**
 * @param {string} url
 * @param {number} limit Most bytes it may have; reading ends with the chunk that goes beyond.
 * @param {RequestInit} [init]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {IntentError} `network`, `invalid_pack`
 */
export async function fetchBytes(url, limit, init) {
  const { chunks } = openResponse(await fetchOk(url, undefined, init), url);
  /** @type {Uint8Array[]} */
  const parts = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.byteLength;
    if (length > limit) throw new IntentError('invalid_pack', `${url}: has more than the ${limit} bytes allowed`);
    parts.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

/**
 * @param {string} url
 * @param {AbortSignal} [signal] Ends the transfer, which fails then.
 * @returns {Promise<ByteSource>}
 * @throws {IntentError} `network`
 */
export async function openUrl(url, signal) {
  return openResponse(await fetchOk(url, signal), url);
}

/**
 * As `openUrl`, but what is not there is no failure.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @param {RequestInit} [init]
 * @returns {Promise<ByteSource | null>} `null` for HTTP 404.
 * @throws {IntentError} `network`
 */
export async function openUrlIfThere(url, signal, init) {
  const response = await fetchIfThere(url, signal, init);
  return response && openResponse(response, url);
}

/**
 * @param {Response} response
 * @param {string} url
 * @returns {ByteSource}
 */
export function openResponse(response, url) {
  return {
    name: url,
    ...lengthOf(response),
    chunks: split(readBody(response, url)),
    // One that is being read is its reader's to end.
    cancel: () => void response.body?.cancel().catch(() => {}),
  };
}

/**
 * @param {Response} response With a whole file, or the head of one.
 * @returns {{ total: number | null, exact: boolean }} As of a `ByteSource`.
 */
export function lengthOf({ headers, type }) {
  const total = announcedBytes(headers);
  // Another origin may compress without letting us see that it does.
  return { total, exact: total !== null && type === 'basic' };
}

/**
 * All of them, or none: where one can't be opened the others are not left waiting to be read.
 *
 * @template {ByteSource | null} T
 * @param {Promise<T>[]} opening
 * @returns {Promise<T[]>}
 */
export async function openAll(opening) {
  const settled = await Promise.allSettled(opening);
  const failed = settled.find((one) => one.status === 'rejected');
  const opened = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  if (!failed) return opened;
  for (const source of opened) source?.cancel?.();
  throw failed.reason;
}

/**
 * @param {Response} response
 * @param {string} url
 * @returns {AsyncGenerator<Uint8Array, void>} Fails with `network`.
 */
export function readBody(response, url) {
  if (!response.body) throw new IntentError('network', `${url}: the response has no body`);
  const wrap = (/** @type {unknown} */ error) => new IntentError('network', `${url}: ${describe(error)}`, { cause: error });
  return readStream(response.body, wrap);
}

/**
 * @param {Headers} headers
 * @returns {number | null} `null` too if Content-Length counts compressed bytes.
 */
function announcedBytes(headers) {
  const length = headers.get('content-length');
  if (length === null || headers.has('content-encoding')) return null;
  const bytes = Number(length);
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : null;
}

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @param {(error: unknown) => IntentError} wrap
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* readStream(stream, wrap) {
  // A reader, because Safari's streams are not async iterable.
  const reader = stream.getReader();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        finished = true;
        throw wrap(error);
      });
      if (done) {
        finished = true;
        return;
      }
      yield value;
    }
  } finally {
    if (!finished) await reader.cancel();
  }
}

/**
 * @param {ChunkFeed} feed
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* readFeed(feed) {
  for (;;) {
    const bytes = await feed.pull();
    if (!bytes) return;
    yield bytes;
  }
}

/**
 * @param {AsyncIterable<Uint8Array>} chunks
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* split(chunks) {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; at += MAX_CHUNK_BYTES) {
      yield chunk.subarray(at, at + MAX_CHUNK_BYTES);
    }
  }
}
