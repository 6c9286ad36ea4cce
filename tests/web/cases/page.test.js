/** The page as a person uses it, with the tiny model. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { suite } from '../lib/suite.js';

const web = suite();

/** @typedef {import('../lib/browser.js').Page} Page */

/** @param {Page} page */
async function loadByFile(page) {
  await page.setInputFiles('#file', web.models().tiny);
  await page.waitForFunction(() => {
    const name = document.querySelector('#model-loaded:not([hidden]) #loaded-name');
    return name?.textContent === 'tiny.gguf';
  });
}

/**
 * @param {Page} page
 * @param {string} text
 */
async function classify(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
  await page.waitForFunction((expected) => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent === expected, text);
}

/** @param {Page} page */
async function shownResult(page) {
  return page.evaluate(() => {
    const text = (/** @type {string} */ id) => document.getElementById(id)?.textContent ?? '';
    const rows = Array.from(document.querySelectorAll('#bars tr'), (row) => ({
      label: row.querySelector('th')?.textContent ?? '',
      share: Number(/** @type {HTMLElement} */ (row).dataset.share),
      best: row.className === 'best',
    }));
    return { json: text('json'), intent: text('intent'), route: text('route'), reason: text('reason'), rows };
  });
}

/** @param {Awaited<ReturnType<typeof shownResult>>} shown */
function checkShown({ json, intent, route, reason, rows }) {
  const labels = ['reset_device', 'device_status', 'device_faq', 'billing', 'greeting', 'unknown'];
  assert.deepEqual(rows.map((row) => row.label).toSorted(), labels.toSorted());
  const sum = rows.reduce((total, row) => total + row.share, 0);
  assert.ok(Math.abs(sum - 1) < 1e-5, `probabilities sum to ${sum}`);
  const best = rows.filter((row) => row.best);
  assert.equal(best.length, 1);
  assert.equal(best[0].share, Math.max(...rows.map((row) => row.share)));
  assert.equal(json, `{"intent": "${best[0].label}"}`);
  assert.notEqual(intent, '');
  assert.ok(['Answered on this device', 'Escalate to a person'].includes(route), route);
  assert.match(reason, /\.$/, 'the reason is a sentence');
}

test('the page starts with its own model and answers without anything being chosen', async () => {
  await web.withPage(
    async ({ page, requests, complaints }) => {
      assert.equal(await page.textContent('#loaded-name'), 'Compact, part of this page');
      await classify(page, 'My internet is down');
      const shown = await shownResult(page);
      checkShown(shown);
      assert.equal(shown.json, '{"intent": "reset_device"}');
      assert.deepEqual(requests.filter((url) => !url.startsWith(web.origin())), []);
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true },
  );
});

test('the page’s own model comes back by a click, and a chosen file takes its place while it loads', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.click('#compact');
    await loadByFile(page);
    assert.equal(await page.textContent('#loaded-name'), 'tiny.gguf');
    await page.click('#unload');
    await page.click('#compact');
    await page.waitForSelector('#model-loaded:not([hidden])');
    await classify(page, 'Why was I charged twice?');
    assert.equal((await shownResult(page)).json, '{"intent": "billing"}');
    assert.deepEqual(complaints, []);
  });
});

test('a model from the file chooser loads and classifies', async () => {
  await web.withPage(async ({ page, complaints }) => {
    assert.ok(await page.isDisabled('#classify'));
    await loadByFile(page);
    await classify(page, 'My internet is down');
    checkShown(await shownResult(page));
    assert.deepEqual(complaints, []);
  });
});

test('a model from the server’s list loads and gives the same answer as the file', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await loadByFile(page);
    await classify(page, 'Why was I charged twice?');
    const fromFile = await shownResult(page);
    await page.click('#unload');
    await page.locator('#offered-list button', { hasText: 'tiny.gguf' }).click();
    await page.waitForSelector('#model-loaded:not([hidden])');
    await classify(page, 'Why was I charged twice? ');
    const fromServer = await shownResult(page);
    checkShown(fromServer);
    assert.deepEqual(fromServer, fromFile);
    assert.deepEqual(complaints, []);
  });
});

test('a dropped file loads', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.evaluate(async () => {
      const bytes = await (await fetch('/models/tiny.gguf')).arrayBuffer();
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], 'dropped.gguf'));
      document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
    });
    await page.waitForSelector('#model-loaded:not([hidden])');
    assert.equal(await page.textContent('#loaded-name'), 'dropped.gguf');
    assert.deepEqual(complaints, []);
  });
});

test('a sample conversation plays by one click, from the keyboard too', async () => {
  await web.withPage(
    async ({ page }) => {
      await loadByFile(page);
      const sample = page.locator('#samples .sample', { hasText: 'Internet is down' });
      await sample.focus();
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelectorAll('#thread .from-customer').length === 3);
      const messages = await page.locator('#thread .from-customer .bubble').allTextContents();
      assert.equal(messages[1], 'my internet is down and every light on the router is red');
      assert.equal(await page.locator('#thread .from-agent').count(), 3, 'each is answered');
      await page.waitForFunction((last) => document.querySelector('#result[data-phase="sent"] #result-text')?.textContent === last, messages[2]);
      checkShown(await shownResult(page));
      assert.notEqual(await page.textContent('#result-status'), '', 'a screen reader hears the result');
      assert.equal(await page.inputValue('#text'), '');
    },
    undefined,
    { context: { reducedMotion: 'reduce' } },
  );
});

test('markup in a message is shown as text', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await loadByFile(page);
    const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    await classify(page, markup);
    assert.equal(await page.locator('#result-text *').count(), 0);
    assert.equal(await page.locator('#thread .bubble *').count(), 0);
    assert.equal(await page.locator('#thread .from-customer .bubble').textContent(), markup);
    assert.equal(await page.title(), 'RelayOps Intent');
    assert.deepEqual(complaints, []);
  });
});

test('a message that is too long escalates and says why', async () => {
  await web.withPage(async ({ page }) => {
    await loadByFile(page);
    await page.fill('#text', 'x'.repeat(2001));
    await page.click('#classify');
    await page.waitForSelector('#result:not([hidden])');
    const shown = await shownResult(page);
    assert.equal(shown.json, '{"intent": "unknown"}');
    assert.equal(shown.route, 'Escalate to a person');
    assert.deepEqual(shown.rows, []);
    assert.ok(await page.isHidden('#probabilities'));
  });
});

test('errors are shown with their code, and the page goes on', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.locator('#offered-list button', { hasText: 'not-gguf.gguf' }).click();
    await page.waitForSelector('#model-error:not([hidden])');
    assert.equal(await page.textContent('#model-error code'), 'invalid_gguf');
    assert.match((await page.textContent('#model-error')) ?? '', /not-gguf\.gguf/);
    await loadByFile(page);
    assert.ok(await page.isHidden('#model-error'));
    await page.fill('#text', '  ');
    await page.click('#classify');
    await page.waitForSelector('#result-error:not([hidden])');
    assert.equal(await page.textContent('#result-error code'), 'empty_message');
    await classify(page, 'still there?');
    assert.ok(await page.isHidden('#result-error'));
    assert.deepEqual(complaints, []);
  });
});

test('loading can be aborted, and another load follows', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.locator('#offered-list button', { hasText: 'tiny.gguf' }).click();
      await page.click('#abort');
      await page.waitForSelector('#model-choose:not([hidden])');
      assert.equal(await page.textContent('#model-status'), 'Loading aborted.');
      assert.ok(await page.isHidden('#model-error'));
      await loadByFile(page);
    },
    // Never answered, so that there is time to press the button.
    (context) => context.route('**/models/tiny.gguf', () => undefined),
  );
});

for (const width of [320, 768, 1440]) {
  test(`nothing overflows sideways at ${width} pixels`, async () => {
    await web.withPage(async ({ page }) => {
      await page.setViewportSize({ width, height: 800 });
      await loadByFile(page);
      await classify(page, 'averyveryverylongwordwithoutanyspace'.repeat(8));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(overflow, 0);
      for (const tab of ['batch', 'evaluation']) {
        await page.click(`#tab-${tab}`);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0, tab);
      }
    });
  });
}
