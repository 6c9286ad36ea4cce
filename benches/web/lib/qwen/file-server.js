/** Serves page, package, peers and models from where they are: models are too large to be copied. */

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';
import { ISOLATED } from '../../../../tests/web/lib/static-server.js';

/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/**
 * No policy: the peer starts its Workers from `blob:` addresses.
 *
 * @param {readonly (readonly [prefix: string, path: string])[]} routes Folders by prefixes that end in a slash, and files
 *   by their paths. The first that has what is asked for answers.
 * @returns {Promise<{ origin: string, stop: () => Promise<void> }>}
 */
export async function serveFiles(routes) {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    const file = find(routes, path);
    if (file === null) {
      response.writeHead(404, ISOLATED).end();
      return;
    }
    const type = TYPES[extname(file.path)] ?? 'application/octet-stream';
    response.writeHead(200, { ...ISOLATED, 'content-type': type, 'content-length': file.bytes, 'cache-control': 'no-store' });
    createReadStream(file.path).on('error', () => response.destroy()).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    origin: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * @param {readonly (readonly [prefix: string, path: string])[]} routes
 * @param {string} path
 * @returns {{ path: string, bytes: number } | null}
 */
function find(routes, path) {
  for (const [prefix, target] of routes) {
    const isFolder = prefix.endsWith('/');
    if (isFolder ? !path.startsWith(prefix) : path !== prefix) continue;
    const file = isFolder ? normalize(join(target, path.slice(prefix.length))) : target;
    if (isFolder && !file.startsWith(target.endsWith(sep) ? target : target + sep)) continue;
    const found = statSync(file, { throwIfNoEntry: false });
    if (found?.isFile()) return { path: file, bytes: found.size };
  }
  return null;
}
