/** A plain web server of files on disk, as an application might run: it counts, cuts and refuses as a test asks. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';
import { gzipSync } from 'node:zlib';

/** The policy that pkg/README.md states. */
export const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'";

/** Headers that isolate a page from other origins. */
export const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'cross-origin',
};

/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.css': 'text/css; charset=utf-8',
};

/**
 * @typedef {object} Hit
 * @property {string} path
 * @property {string} method
 * @property {string} range The `Range` header, or nothing.
 * @property {number} sent Bytes of the body that were written.
 */

/**
 * @typedef {object} StaticServer
 * @property {string} origin
 * @property {Hit[]} hits All requests so far.
 * @property {Map<string, Buffer | string>} files Files that are not on disk, by path; they come first.
 * @property {(path: string, bytes: number) => void} cutOnce Breaks the next transfer of `path` off after `bytes`.
 * @property {Set<string>} compressed Paths whose files are sent with gzip where the browser takes that.
 * @property {(path: string) => void} destroy Breaks every connection that asks for `path` from now on.
 * @property {() => Promise<void>} stop
 */

/**
 * @param {Record<string, string>} folders Folders on disk by the path they are served at, which ends in a slash.
 * @param {{ headers?: Record<string, string>, slow?: number }} [options] `slow` is a wait in milliseconds every 256 KiB.
 * @returns {Promise<StaticServer>}
 */
export async function startStatic(folders, { headers = {}, slow = 0 } = {}) {
  /** @type {Hit[]} */
  const hits = [];
  /** @type {Map<string, Buffer | string>} */
  const files = new Map();
  /** @type {Map<string, number>} */
  const cuts = new Map();
  /** @type {Set<string>} */
  const destroyed = new Set();
  /** @type {Set<string>} */
  const compressed = new Set();

  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    const hit = { path, method: request.method ?? '', range: request.headers.range ?? '', sent: 0 };
    hits.push(hit);
    if (destroyed.has(path)) return void response.destroy();
    const whole = load(path, folders, files);
    if (!whole) return void response.writeHead(404, headers).end();
    const isPacked = compressed.has(path) && /\bgzip\b/.test(String(request.headers['accept-encoding']));
    const body = isPacked ? gzipSync(whole) : whole;
    const range = /^bytes=(\d+)-(\d*)$/.exec(hit.range);
    const first = range ? Number(range[1]) : 0;
    const last = range && range[2] !== '' ? Math.min(Number(range[2]), body.length - 1) : body.length - 1;
    response.writeHead(range ? 206 : 200, {
      'content-type': TYPES[path.endsWith('/') ? '.html' : extname(path)] ?? 'application/octet-stream',
      'content-length': last + 1 - first,
      'accept-ranges': 'bytes',
      'cache-control': 'no-cache',
      etag: `"${createHash('sha256').update(whole).digest('hex').slice(0, 16)}"`,
      ...(isPacked && { 'content-encoding': 'gzip' }),
      ...(range && { 'content-range': `bytes ${first}-${last}/${body.length}` }),
      ...headers,
    });
    if (request.method === 'HEAD') return void response.end();
    const cut = cuts.get(path);
    cuts.delete(path);
    const end = cut === undefined ? last + 1 : Math.min(last + 1, first + cut);
    for (let at = first; at < end && !response.destroyed; at += 262_144) {
      const chunk = body.subarray(at, Math.min(end, at + 262_144));
      await new Promise((resolve) => response.write(chunk, resolve));
      hit.sent += chunk.length;
      if (slow) await new Promise((resolve) => setTimeout(resolve, slow));
    }
    if (cut === undefined) response.end();
    // Neither a reset nor at once: the browser drops what has arrived and has not been read yet.
    else setTimeout(() => response.socket?.end(), 1000);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    origin: `http://127.0.0.1:${port}`,
    hits,
    files,
    compressed,
    cutOnce: (path, bytes) => void cuts.set(path, bytes),
    destroy: (path) => void destroyed.add(path),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * @param {string} path
 * @param {Record<string, string>} folders
 * @param {Map<string, Buffer | string>} files
 * @returns {Buffer | null}
 */
function load(path, folders, files) {
  const given = files.get(path);
  if (given !== undefined) return Buffer.from(given);
  for (const [prefix, folder] of Object.entries(folders)) {
    const file = normalize(join(folder, path.slice(prefix.length)));
    if (!path.startsWith(prefix) || !file.startsWith(folder + sep)) continue;
    try {
      return readFileSync(file);
    } catch {
      // Another folder may have it.
    }
  }
  return null;
}
