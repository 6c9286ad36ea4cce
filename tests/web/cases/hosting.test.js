/** The page hosted elsewhere: by nginx, with the project's configuration, and by a static host. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { INBOX, REDACTED, SECRET, UNLIMITED, classifyAll, inbox, load, waitForCounts } from '../lib/escalation.js';
import { launch, visit } from '../lib/browser.js';
import { notRun } from '../lib/not-run.js';
import { ROOT } from '../lib/paths.js';
import { startServer } from '../lib/server.js';

/** Where nginx is; not everybody’s PATH has the folder of servers. */
function findNginx() {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, 'nginx')).find(existsSync);
}

/** @returns {Promise<number>} A port that was free just now. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/**
 * Starts nginx with hosting/nginx.conf, of which only names and places are changed.
 *
 * @param {string} nginx
 * @param {string} upstream Origin of the inbox.
 */
async function startNginx(nginx, upstream) {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-nginx-'));
  const port = await freePort();
  /** @type {[string, string][]} */
  const changes = [
    ['listen 80;', `listen 127.0.0.1:${port};`],
    ['server_name console.example;', 'server_name localhost;'],
    ['set $site /srv/relayops-intent;', `set $site ${ROOT.replace(/\/$/, '')};`],
    ['proxy_pass http://127.0.0.1:8080;', `proxy_pass ${upstream};`],
  ];
  let site = readFileSync(join(ROOT, 'hosting/nginx.conf'), 'utf8');
  for (const [from, to] of changes) {
    assert.ok(site.includes(from), from);
    site = site.replace(from, () => to);
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${join(folder, kind)};`);
  mkdirSync(join(folder, 'logs'));
  // The checkout may be readable for its owner only.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  writeFileSync(join(folder, 'site.conf'), site);
  const main = `daemon off; ${user} worker_processes 1; pid ${folder}/pid; error_log ${folder}/logs/error.log; events {} http { access_log off; ${temporary.join(' ')} include ${folder}/site.conf; }`;
  writeFileSync(join(folder, 'nginx.conf'), main);
  const child = spawn(nginx, ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: ['ignore', 'inherit', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const origin = `http://localhost:${port}`;
  const stop = async () => {
    child.kill();
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  const deadline = Date.now() + 10_000;
  for (;;) {
    const there = await fetch(`${origin}/`).then((response) => response.ok, () => false);
    if (there) return { origin, stop };
    if (Date.now() > deadline || child.exitCode !== null) {
      await stop();
      throw new Error('nginx does not serve the page');
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Headers that the page needs, as the project’s own server sends them. @param {Headers} headers */
function pageHeaders(headers) {
  const names = ['cross-origin-opener-policy', 'cross-origin-embedder-policy', 'cross-origin-resource-policy', 'content-security-policy', 'x-content-type-options', 'referrer-policy', 'cache-control'];
  return Object.fromEntries(names.map((name) => [name, headers.get(name)]));
}

test('nginx with the project’s configuration serves the page isolated, and the inbox behind it', async (context) => {
  const nginx = findNginx();
  if (!nginx) return notRun(context, 'nginx is not installed');
  const server = await startServer({ args: [...UNLIMITED, '--trusted-proxy', '127.0.0.1'] });
  const browser = await launch();
  const proxy = await startNginx(nginx, server.origin);
  try {
    for (const path of ['/', '/pkg/index.js', '/pkg/wasm/simd128/relayops_intent_bg.wasm', '/style.css', '/data/adversarial.jsonl']) {
      const [ours, theirs] = await Promise.all([fetch(server.origin + path), fetch(proxy.origin + path)]);
      assert.deepEqual(pageHeaders(theirs.headers), pageHeaders(ours.headers), path);
      assert.deepEqual(Buffer.from(await theirs.arrayBuffer()), Buffer.from(await ours.arrayBuffer()), path);
    }
    const { page, context: tab, complaints } = await visit(browser, proxy.origin);
    assert.ok(await page.evaluate(() => globalThis.crossOriginIsolated));
    const console = await tab.newPage();
    await console.goto(`${proxy.origin}/inbox.html`);
    await console.waitForFunction(() => document.querySelector('#inbox-status')?.textContent === 'Live');
    await load(page);
    await classifyAll(page, [SECRET]);
    await waitForCounts(page, { queued: 0, sent: 1, failed: 0 });
    assert.deepEqual((await inbox(server.origin)).map(({ text }) => text), [REDACTED]);
    // Through the proxy, as it happens.
    await console.locator('#inbox blockquote', { hasText: 'payment card' }).waitFor({ timeout: 5_000 });
    const refused = await fetch(`${proxy.origin}${INBOX}`, { headers: { origin: 'https://evil.example' } });
    assert.equal(refused.status, 403);
    assert.equal(refused.headers.get('cross-origin-opener-policy'), 'same-origin', 'once, not twice');
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
    await proxy.stop();
    await server.stop();
  }
});

test('the headers for static hosts are those of the project’s own server', async () => {
  const server = await startServer();
  try {
    const lines = readFileSync(join(ROOT, 'hosting/_headers'), 'utf8').trimEnd().split('\n');
    assert.equal(lines.shift(), '/*');
    const named = new Headers(lines.map((line) => /** @type {[string, string]} */ (line.trim().split(/: (.*)/).slice(0, 2))));
    const response = await fetch(`${server.origin}/`);
    assert.deepEqual(pageHeaders(named), pageHeaders(response.headers));
  } finally {
    await server.stop();
  }
});
