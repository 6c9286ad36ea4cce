/** The Worker's byte streams, against a local server that misbehaves. */

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ChunkFeed } from '../../../pkg/engine/chunk-feed.js';
import { fetchBytes, openAll, openSource, openUrl } from '../../../pkg/engine/byte-source.js';
import { MAX_CHUNK_BYTES } from '../../../pkg/protocol.js';

const BODY = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, index) => index % 251));
const NO_FEED = new ChunkFeed(() => assert.fail('nothing is fed here'));

/** @type {import('node:http').RequestListener} */
function answer(request, response) {
  switch (request.url) {
    case '/plain':
      response.writeHead(200, { 'content-length': BODY.length }).end(BODY);
      break;
    case '/gzip': {
      const packed = gzipSync(BODY);
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
      break;
    }
    case '/chunked':
      response.writeHead(200).end(BODY);
      break;
    case '/endless': {
      endlessEnded = false;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.on('close', () => void (endlessEnded = true));
      const more = () => {
        while (!endlessEnded && response.write(BODY));
      };
      response.on('drain', more);
      more();
      break;
    }
    case '/cut':
      response.writeHead(200, { 'content-length': BODY.length }).write(BODY.subarray(0, 5000), () => response.destroy());
      break;
    default:
      response.writeHead(503).end('busy');
  }
}

/** Whether the answer to `/endless` was broken off. */
let endlessEnded = false;
const server = createServer(answer);
let origin = '';
before(async () => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(null)));
  origin = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

/** @param {AsyncIterable<Uint8Array>} chunks */
async function collect(chunks) {
  const parts = [];
  for await (const chunk of chunks) parts.push(chunk);
  return { bytes: Buffer.concat(parts), longest: Math.max(...parts.map((part) => part.length)) };
}

/** @param {string} path */
const open = (path) => openSource({ kind: 'url', url: origin + path }, NO_FEED);

test('Content-Length is the total', async () => {
  const source = await open('/plain');
  assert.equal(source.total, BODY.length);
  assert.deepEqual((await collect(source.chunks)).bytes, BODY);
});

test('the length of compressed bytes is not taken for the total', async () => {
  const source = await open('/gzip');
  assert.deepEqual([source.total, source.exact], [null, false]);
  assert.deepEqual((await collect(source.chunks)).bytes, BODY);
});

test('a transfer of unknown length has no total', async () => {
  const source = await open('/chunked');
  assert.deepEqual([source.total, source.exact], [null, false]);
  assert.deepEqual((await collect(source.chunks)).bytes, BODY);
});

test('a connection that breaks is a network error that names the address', async () => {
  const source = await open('/cut');
  const broken = collect(source.chunks);
  await assert.rejects(broken, (/** @type {any} */ error) => error.code === 'network' && error.message.startsWith(`${origin}/cut: `));
});

test('a status that is not a success is a network error', async () => {
  await assert.rejects(open('/busy'), { code: 'network', message: `${origin}/busy: HTTP 503 Service Unavailable` });
});

test('a server that is not there is a network error', async () => {
  const url = 'http://127.0.0.1:1/model.gguf';
  const closed = openSource({ kind: 'url', url }, NO_FEED);
  await assert.rejects(closed, (/** @type {any} */ error) => error.code === 'network' && error.message.startsWith(`${url}: `));
});

test('pieces of any size are split and keep their order', async () => {
  const big = new Uint8Array(2 * MAX_CHUNK_BYTES + 3).map((_, index) => index % 253);
  const pieces = [big, new Uint8Array(0), Uint8Array.of(1, 2, 3), null];
  const feed = new ChunkFeed(() => queueMicrotask(() => feed.give(pieces.shift() ?? null)));
  const source = await openSource({ kind: 'feed', name: 'bytes', bytes: big.length + 3 }, feed);
  const { bytes, longest } = await collect(source.chunks);
  assert.equal(longest, MAX_CHUNK_BYTES);
  assert.deepEqual(bytes, Buffer.concat([big, Uint8Array.of(1, 2, 3)]));
});

test('leaving early cancels the stream', async () => {
  /** @type {unknown} */
  let cancelled = null;
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(10)),
    cancel: () => void (cancelled = true),
  });
  const blob = /** @type {Blob} */ (/** @type {unknown} */ ({ size: 1000, stream: () => stream }));
  const source = await openSource({ kind: 'blob', blob, name: 'x.gguf' }, NO_FEED);
  for await (const chunk of source.chunks) {
    assert.equal(chunk.length, 10);
    break;
  }
  assert.equal(cancelled, true);
});

test('a file that can no longer be read is an io error that names it', async () => {
  const stream = new ReadableStream({ start: (controller) => controller.error(new DOMException('gone', 'NotReadableError')) });
  const blob = /** @type {Blob} */ (/** @type {unknown} */ ({ size: 1000, stream: () => stream }));
  const source = await openSource({ kind: 'blob', blob, name: 'x.gguf' }, NO_FEED);
  await assert.rejects(collect(source.chunks), { code: 'io', message: /^x\.gguf: .*gone/ });
});

test('a small file is read whole, up to its limit', async () => {
  assert.deepEqual(Buffer.from(await fetchBytes(`${origin}/plain`, BODY.length)), BODY);
  const url = `${origin}/plain`;
  const tooLong = { code: 'invalid_pack', message: `${url}: has more than the ${BODY.length - 1} bytes allowed` };
  await assert.rejects(fetchBytes(url, BODY.length - 1), tooLong);
});

test('a small file without an end is broken off', { timeout: 20_000 }, async () => {
  await assert.rejects(fetchBytes(`${origin}/endless`, 1_000_000), { code: 'invalid_pack' });
  while (!endlessEnded) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('where one of several is not there the others are broken off', { timeout: 20_000 }, async () => {
  await assert.rejects(openAll([openUrl(`${origin}/endless`), openUrl(`${origin}/busy`)]), { code: 'network', message: /\/busy: HTTP 503/ });
  while (!endlessEnded) await new Promise((resolve) => setTimeout(resolve, 5));
});
