/** The service worker: a page that was there once works without a network. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { site } from '../lib/site.js';

const web = site({
  '/sw.js': "importScripts('/pkg/service-worker.js');",
  '/api/secret': 'of nobody’s business',
  '/style.css': 'body { color: rgb(7, 8, 9); }',
  '/app/': '<!doctype html><html lang="en"><title>starting</title><link rel="stylesheet" href="/style.css"><script type="module" src="/app.js"></script>',
  '/app.js': `import { IntentClassifier } from '/pkg/index.js';
    import { enableOffline } from '/pkg/offline.js';
    await enableOffline('/sw.js');
    await fetch('/api/secret').catch(() => {});
    const classifier = await IntentClassifier.load();
    document.title = (await classifier.classify('my internet is down')).json;`,
});

test('where there are no service workers that is said', async () => {
  await web.fresh(async ({ page }) => {
    const codes = await page.evaluate(async () => {
      const { enableOffline } = await import('/pkg/offline.js');
      const missing = await window.outcome(enableOffline('/nowhere.js'));
      Object.defineProperty(Navigator.prototype, 'serviceWorker', { value: undefined });
      return [missing.code, (await window.outcome(enableOffline('/sw.js'))).code];
    });
    assert.deepEqual(codes, ['unavailable', 'unavailable']);
  });
});

test('a page works without a network after its first visit', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      const done = '{"intent": "reset_device"}';
      await page.waitForFunction((done) => document.title === done, done);
      assert.deepEqual(complaints, []);
      const kept = await page.evaluate(async () => {
        const [name] = (await caches.keys()).filter((name) => name.startsWith('relayops-intent/offline/'));
        return (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname);
      });
      for (const path of ['/app/', '/app.js', '/style.css', '/pkg/index.js', '/pkg/worker.js', '/pkg/models/compact/model.gguf']) {
        assert.ok(kept.includes(path), `${path} of ${kept}`);
      }
      assert.ok(!kept.includes('/api/secret'), 'what the application asks for is not kept');

      // Gone: nothing at all answers any more, neither the page nor the Workers.
      const { server } = web;
      const paths = ['/sw.js', '/favicon.ico', '/api/secret', ...kept];
      for (const path of paths) server.destroy(path);
      server.hits.length = 0;
      await page.evaluate(() => (document.title = 'again'));
      await page.reload();
      await page.waitForFunction((done) => document.title === done, done);
      assert.equal(await page.evaluate(() => getComputedStyle(document.body).color), 'rgb(7, 8, 9)');
      assert.ok(server.hits.length > 0 && server.hits.every((hit) => hit.sent === 0), 'the network was asked first, and gave nothing');
    },
    { path: '/app/' },
  );
});
