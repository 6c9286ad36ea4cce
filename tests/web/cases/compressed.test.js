/** Hosts that compress, of the page's origin and of another one, where the length of what comes is not known before. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { FILES, TEXTS, makeAdapters } from '../lib/adapters.js';
import { lastDownload, list, states } from '../lib/cache.js';
import { site } from '../lib/site.js';
import { POLICY, startStatic } from '../lib/static-server.js';

/** @typedef {import('../lib/browser.js').Page} Page */
/** @typedef {import('../lib/static-server.js').StaticServer} StaticServer */

const web = site({}, POLICY.replace("connect-src 'self'", 'connect-src *'));

/** @type {StaticServer} */
let other;
/** @type {Buffer[]} */
let adapter;

before(async () => {
  const { folder, tiny } = web.models;
  const { first } = makeAdapters(join(folder, 'adapters'), tiny);
  adapter = FILES.map((file) => readFileSync(join(first, file)));
  // Neither Content-Encoding nor Content-Range is among what another origin lets be read.
  other = await startStatic({ '/models/': folder }, { headers: { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'etag', 'cross-origin-resource-policy': 'cross-origin' } });
  for (const server of [web.server, other]) {
    for (const [index, file] of FILES.entries()) server.files.set(`/adapter/${file}`, adapter[index]);
  }
});
after(() => other?.stop());

beforeEach(() => {
  for (const server of [web.server, other]) {
    server.compressed.clear();
    server.hits.length = 0;
  }
});

/**
 * @param {Page} page
 * @param {{ pack: string, adapter?: string }} options
 */
function ask(page, options) {
  return page.evaluate(
    async ({ options, text }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {import('/pkg/index.js').LoadProgress[]} */
      const progress = [];
      const onProgress = (/** @type {import('/pkg/index.js').LoadProgress} */ step) => void progress.push(step);
      const answer = async () => {
        const classifier = await IntentClassifier.load({ ...options, onProgress });
        const { probabilities } = await classifier.classify(text);
        classifier.dispose();
        return probabilities;
      };
      return { ...(await window.outcome(answer())), progress };
    },
    { options, text: TEXTS[0] },
  );
}

const total = () => adapter[1].length + adapter[2].length;

/** @type {[string, string[]][]} */
const COMPRESSED = [
  ['one small file', [FILES[1]]],
  ['every file', FILES],
  ['nothing', []],
];
for (const isOther of [false, true]) {
  for (const [what, files] of COMPRESSED) {
    test(`an adapter of ${isOther ? 'another' : 'the same'} origin is kept where ${what} comes compressed`, async () => {
      const server = isOther ? other : web.server;
      for (const file of files) server.compressed.add(`/adapter/${file}`);
      const options = { pack: `${web.server.origin}/models/tiny.gguf`, adapter: `${server.origin}/adapter/` };
      await web.fresh(async ({ page, complaints }) => {
        const first = await ask(page, options);
        assert.equal(first.code, 'fulfilled', first.message);
        assert.deepEqual(states(first.progress), ['writing']);
        const kept = (await list(page)).find(({ kind }) => kind === 'adapter');
        assert.deepEqual([kept?.complete, kept?.bytes, kept?.totalBytes], [true, total(), total()]);
        server.hits.length = 0;
        const again = await ask(page, options);
        assert.deepEqual(again.value, first.value, again.message);
        assert.deepEqual(server.hits.filter(({ path }) => /adapter_/.test(path)), [], 'no byte is fetched again');
        assert.deepEqual(complaints, []);
      });
    });
  }
}

test('a compressed file that breaks off goes on, and one that is not the promised one is refused', async () => {
  const path = `/adapter/${FILES[2]}`;
  const options = { pack: `${web.server.origin}/models/tiny.gguf`, adapter: `${other.origin}/adapter/` };
  other.compressed.add(path);
  await web.fresh(async ({ page }) => {
    const wrong = Buffer.from(adapter[2]);
    wrong[wrong.length >> 1] ^= 1;
    other.files.set(path, wrong);
    const refused = await ask(page, options);
    assert.equal(refused.code, 'checksum', refused.message);
    other.files.set(path, adapter[2]);
    other.cutOnce(path, gzipSync(adapter[2]).length >> 1);
    const { code, message } = await ask(page, options);
    assert.equal(code, 'fulfilled', message);
    assert.deepEqual((await list(page)).filter(({ kind }) => kind === 'adapter').map(({ complete }) => complete), [true]);
  });
});

test('a GGUF file of another origin loads whole where it comes compressed, and is kept where it does not', async () => {
  const path = '/models/tiny.gguf';
  const bytes = readFileSync(web.models.tiny);
  assert.ok(gzipSync(bytes).length < bytes.length);
  await web.fresh(async ({ page, complaints }) => {
    const expected = await ask(page, { pack: `${web.server.origin}${path}` });
    const options = { pack: `${other.origin}${path}` };
    other.compressed.add(path);
    const packed = await ask(page, options);
    assert.deepEqual(packed.value, expected.value, packed.message);
    const { loaded, cache } = lastDownload(packed.progress);
    assert.deepEqual([loaded, cache?.state, cache?.reason], [bytes.length, 'memory', 'the server does not say how long the file is']);
    assert.deepEqual((await list(page)).filter(({ url }) => url === options.pack), []);
    other.compressed.clear();
    const plain = await ask(page, options);
    assert.deepEqual(plain.value, expected.value, plain.message);
    const [kept] = (await list(page)).filter(({ url }) => url === options.pack);
    assert.deepEqual([kept.complete, kept.totalBytes], [true, bytes.length]);
    const again = await ask(page, options);
    assert.deepEqual([again.value, states(again.progress)], [expected.value, ['reading']], again.message);
    assert.deepEqual(complaints, []);
  });
});
