/** What goes over the network: nothing but the page, the package and the model. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';

const web = suite();

test('after loading, classifying sends nothing', async () => {
  /** @type {string[]} */
  const messages = JSON.parse(await readFile(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));
  await web.withPage(async ({ page, requests, complaints }) => {
    // They are no requests.
    page.on('websocket', (socket) => requests.push(socket.url()));
    await page.locator('#offered-list button', { hasText: 'tiny.gguf' }).click();
    await page.waitForSelector('#model-loaded:not([hidden])');
    const { origin } = new URL(page.url());
    // The Worker's requests are seen too, or the rest of this test would prove nothing.
    for (const path of ['/pkg/worker.js', '/pkg/engine/thread.js', '/pkg/wasm/relaxed-simd-threads/relayops_intent_bg.wasm', '/models/tiny.gguf']) {
      assert.ok(requests.includes(origin + path), `${path} is in the record`);
    }
    assert.deepEqual(requests.filter((url) => new URL(url).origin !== origin), [], 'only the page’s own server is asked');

    // The page's icon may come late.
    await page.waitForLoadState('networkidle');
    const loaded = requests.length;
    for (const message of messages) {
      await page.fill('#text', message);
      await page.click('#classify');
      await page.waitForFunction((text) => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent === text, message);
    }
    await page.fill('#text', 'x'.repeat(2001));
    await page.click('#classify');
    await page.waitForFunction(() => document.querySelector('#result[data-phase="sent"] #reason')?.textContent?.includes('too long'));
    await page.fill('#text', ' ');
    await page.click('#classify');
    await page.waitForSelector('#result-error:not([hidden])');
    await page.click('#unload');
    // Anything sent late would be sent by now.
    await page.waitForTimeout(500);
    assert.deepEqual(requests.slice(loaded), []);
    assert.equal(await page.textContent('#count-messages'), String(messages.length + 1));
    assert.equal(await page.textContent('#count-bytes'), '0 bytes');
    assert.deepEqual(complaints, []);
  });
});

test('the server’s policy allows no inline script, no eval and no other origin', async () => {
  await web.withPage(async ({ page }) => {
    for (const path of ['/', '/pkg/worker.js']) {
      const response = await page.request.get(web.origin() + path);
      const policy = response.headers()['content-security-policy'] ?? '';
      assert.match(policy, /default-src 'none'/, path);
      assert.match(policy, /script-src 'self' 'wasm-unsafe-eval'/, path);
      assert.match(policy, /connect-src 'self'/, path);
      assert.doesNotMatch(policy, /'unsafe-inline'|'unsafe-eval'|blob:|data:|https?:|\*/, path);
    }
    // Another origin that would answer anybody: only the policy keeps the page from it.
    let requests = 0;
    const other = createServer((_request, response) => {
      requests += 1;
      response.writeHead(200, { 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin' }).end('hello');
    });
    await new Promise((resolve) => other.listen(0, '127.0.0.1', () => resolve(undefined)));
    const { port } = /** @type {import('node:net').AddressInfo} */ (other.address());
    const { directive, reached, isolated } = await page.evaluate(async (url) => {
      const violation = new Promise((resolve) => {
        document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective), { once: true });
      });
      const reached = await fetch(url).then(
        () => true,
        () => false,
      );
      return { directive: reached ? null : await violation, reached, isolated: globalThis.crossOriginIsolated };
    }, `http://127.0.0.1:${port}/`);
    other.close();
    assert.deepEqual({ directive, reached, requests }, { directive: 'connect-src', reached: false, requests: 0 });
    assert.ok(isolated, 'COOP and COEP are in force');
  });
});
