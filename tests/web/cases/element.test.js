/** `<relayops-intent>` in Chromium, under the stated policy. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { site } from '../lib/site.js';

/** @typedef {import('../lib/browser.js').Page} Page */

const page = (/** @type {string} */ body) => `<!doctype html><html lang="en"><title>console</title><script type="module" src="/app.js"></script>${body}`;

const web = site({
  '/app.js': `import '/pkg/element.js';
    window.seen = [];
    document.addEventListener('intent', ({ detail }) => window.seen.push(detail));
    document.addEventListener('intent-error', ({ detail }) => window.seen.push({ error: detail.code }));
    document.addEventListener('submit', (event) => event.preventDefault());`,
  '/console/': page('<form><label for="message">Message</label><textarea id="message"></textarea><button id="send">Send</button><button type="reset">Reset</button></form><relayops-intent for="message"></relayops-intent>'),
  '/filled/': page('<input id="message" value="why was I charged twice"><relayops-intent for="message"></relayops-intent>'),
  '/broken/': page('<input id="message"><relayops-intent for="message" pack="/nowhere.gguf"></relayops-intent>'),
  '/blank/': page(''),
});

/** @param {Page} page @param {string} part */
function part(page, part) {
  return page.locator(`relayops-intent [part~=${part}]`);
}

/** What the page has been told so far. @param {Page} page */
function seen(page) {
  return page.evaluate(() => /** @type {any[]} */ (/** @type {any} */ (window).seen));
}

test('says intent, confidence and route while the customer types, and again when sent', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      assert.equal(page.workers().length, 0, 'nothing is loaded before somebody comes to the field');
      await page.click('#message');
      await page.keyboard.type('my internet is down', { delay: 20 });
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.text === 'my internet is down');
      const typed = await seen(page);
      assert.ok(typed.every(({ provisional }) => provisional === true), JSON.stringify(typed));
      assert.equal(await part(page, 'intent').textContent(), 'reset device');
      assert.match((await part(page, 'confidence').textContent()) ?? '', /^\d+ %$/);
      assert.equal(await part(page, 'route-local').textContent(), 'answer here');

      await page.click('#send');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.provisional === false);
      const sent = (await seen(page)).at(-1);
      assert.deepEqual([sent.text, sent.result.intent], ['my internet is down', 'reset_device']);

      await page.fill('#message', 'why was I charged twice');
      await page.waitForSelector('relayops-intent [part~=route-escalate]');
      assert.equal(await part(page, 'intent').textContent(), 'billing');
      await page.click('[type=reset]');
      assert.ok(await part(page, 'answer').isHidden(), 'nothing typed, nothing said');
      assert.deepEqual(complaints, []);
    },
    { path: '/console/' },
  );
});

test('is spoken after a pause, once, and without numbers', async () => {
  await web.fresh(
    async ({ page }) => {
      await page.evaluate(() => {
        const status = document.querySelector('relayops-intent')?.shadowRoot?.querySelector('[part=status]');
        if (!status) throw new Error('there is no status');
        const spoken = /** @type {string[]} */ ([]);
        Object.assign(window, { spoken });
        new MutationObserver(() => status.textContent && spoken.push(status.textContent)).observe(status, { childList: true });
      });
      await page.click('#message');
      await page.keyboard.type('my internet is down', { delay: 30 });
      await page.waitForFunction(() => /** @type {any} */ (window).spoken.length > 0);
      await page.keyboard.type(' again');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.text.endsWith('again'));
      await page.waitForTimeout(1500);
      const spoken = await page.evaluate(() => /** @type {any} */ (window).spoken);
      assert.deepEqual(spoken, ['reset device: answer here']);
      const status = part(page, 'status');
      assert.deepEqual([await status.getAttribute('role'), await status.getAttribute('aria-live')], ['status', 'polite']);
    },
    { path: '/console/' },
  );
});

test('all intents open and close by keyboard', async () => {
  await web.fresh(
    async ({ page }) => {
      await part(page, 'intent').filter({ hasText: 'billing' }).waitFor();
      await page.focus('#message');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      const toggle = part(page, 'toggle');
      assert.equal(await toggle.getAttribute('aria-expanded'), 'true');
      const terms = await part(page, 'details').locator('dt').allTextContents();
      assert.deepEqual([terms.length, terms[0]], [6, 'billing']);
      await page.keyboard.press('Escape');
      assert.ok(await part(page, 'details').isHidden());
      assert.equal(await toggle.getAttribute('aria-expanded'), 'false');
    },
    { path: '/filled/' },
  );
});

test('is styled by custom properties and parts', async () => {
  await web.fresh(
    async ({ page }) => {
      await part(page, 'intent').filter({ hasText: 'billing' }).waitFor();
      const styles = await page.evaluate(() => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync('relayops-intent { --relayops-escalate: rgb(1, 2, 3); } relayops-intent::part(intent) { color: rgb(4, 5, 6); }');
        document.adoptedStyleSheets = [sheet];
        const root = document.querySelector('relayops-intent')?.shadowRoot;
        const color = (/** @type {string} */ selector) => {
          const found = root?.querySelector(selector);
          return found && getComputedStyle(found).color;
        };
        return [color('[part~=route]'), color('[part=intent]')];
      });
      assert.deepEqual(styles, ['rgb(1, 2, 3)', 'rgb(4, 5, 6)']);
    },
    { path: '/filled/' },
  );
});

test('a model that can’t be loaded is told, on the page and to it', async () => {
  await web.fresh(
    async ({ page }) => {
      await page.fill('#message', 'hello');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.length > 0);
      assert.deepEqual(await seen(page), [{ error: 'network' }]);
      assert.match((await part(page, 'note').textContent()) ?? '', /nowhere\.gguf: HTTP 404/);
      await page.locator('#message').blur();
      await page.focus('#message');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.length > 1);
      assert.deepEqual((await seen(page))[1], { error: 'network' }, 'who comes again tries again');
    },
    { path: '/broken/' },
  );
});

test('who empties the field hears no more of what was in it', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      await page.fill('#message', 'hello there');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.length > 0);
      const before = (await seen(page)).length;
      await page.evaluate(async () => {
        const message = document.querySelector('textarea');
        const type = (/** @type {string} */ text) => {
          if (message) message.value = text;
          message?.dispatchEvent(new Event('input'));
        };
        type('why was I charged twice');
        // The Worker is asked by then, and its answer can't have come.
        for (let turn = 0; turn < 50; turn += 1) await null;
        type('');
      });
      assert.ok(await part(page, 'answer').isHidden());
      await page.waitForTimeout(500);
      assert.equal((await seen(page)).length, before, 'nothing is said of the old text');
      await page.evaluate(() => {
        const form = document.querySelector('form');
        const message = document.querySelector('textarea');
        if (message) message.value = 'my internet is down';
        form?.requestSubmit();
        form?.reset();
      });
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.provisional === false);
      assert.equal((await seen(page)).at(-1).text, 'my internet is down', 'what was sent is answered although the field is empty');
      assert.deepEqual(complaints, []);
    },
    { path: '/console/' },
  );
});

test('what was sent is told, although the customer types on or sends again at once', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      await page.fill('#message', 'hello there');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.length > 0);
      await page.evaluate(() => {
        const [form, message] = [document.querySelector('form'), document.querySelector('textarea')];
        const type = (/** @type {string} */ text) => {
          if (message) message.value = text;
          message?.dispatchEvent(new Event('input'));
        };
        type('why was I charged twice');
        form?.requestSubmit();
        type('m');
        type('my internet is down');
        form?.requestSubmit();
        type('is my modem online?');
        form?.requestSubmit();
        type('');
        type('t');
        type('thanks, b');
      });
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.text === 'thanks, b');
      const sent = (await seen(page)).filter(({ provisional }) => provisional === false);
      assert.deepEqual(sent.map(({ text }) => text), ['why was I charged twice', 'my internet is down', 'is my modem online?']);
      assert.deepEqual(sent.slice(0, 2).map(({ result }) => result.intent), ['billing', 'reset_device']);
      assert.deepEqual(complaints, []);
    },
    { path: '/console/' },
  );
});

test('what was sent is told although the application empties the field, and takes the element away', { timeout: 60_000 }, async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      const told = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const form = document.createElement('form');
        const input = document.createElement('input');
        input.id = 'message';
        form.append(input);
        document.body.append(form);
        // It was there first.
        form.addEventListener('submit', (event) => {
          event.preventDefault();
          input.value = '';
        });
        const element = document.createElement('relayops-intent');
        element.setAttribute('for', 'message');
        Object.assign(element, { classifier: await IntentClassifier.load() });
        document.body.append(element);
        const told = /** @type {string[]} */ ([]);
        const wait = () => new Promise((resolve) => element.addEventListener('intent', resolve, { once: true }));
        element.addEventListener('intent', (event) => {
          const { text, provisional } = /** @type {CustomEvent<import('/pkg/element.js').IntentDetail>} */ (event).detail;
          told.push(`${text}: ${provisional}`);
        });
        for (const last of [false, true]) {
          input.value = last ? 'my internet is down' : 'why was I charged twice';
          const answered = wait();
          form.requestSubmit();
          // The Worker is asked by then.
          for (let turn = 0; turn < 50; turn += 1) await null;
          if (last) element.remove();
          await answered;
        }
        return told;
      });
      assert.deepEqual(told, ['why was I charged twice: false', 'my internet is down: false']);
      assert.deepEqual(complaints, []);
    },
    { path: '/blank/' },
  );
});

test('goes on with a field that takes the place of another, and finds one in its shadow root', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      await page.evaluate(() => {
        const root = document.body.appendChild(document.createElement('div')).attachShadow({ mode: 'open' });
        const element = document.createElement('relayops-intent');
        element.setAttribute('for', 'message');
        const form = document.createElement('form');
        root.append(form, element);
        Object.assign(window, {
          mount: (/** @type {string} */ tag) => {
            const field = document.createElement(tag);
            field.id = 'message';
            form.replaceChildren(field);
          },
          // Not seen outside of the shadow root.
          send: () => (form.addEventListener('submit', (event) => event.preventDefault(), { once: true }), form.requestSubmit()),
        });
      });
      await page.evaluate(() => /** @type {any} */ (window).mount('input'));
      await page.fill('#message', 'hello there');
      await part(page, 'intent').filter({ hasText: 'greeting' }).waitFor();
      await page.evaluate(() => /** @type {any} */ (window).mount('textarea'));
      await part(page, 'answer').waitFor({ state: 'hidden' });
      await page.fill('#message', 'why was I charged twice');
      await part(page, 'intent').filter({ hasText: 'billing' }).waitFor();
      await page.evaluate(() => /** @type {any} */ (window).send());
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.provisional === false);
      assert.equal((await seen(page)).at(-1).text, 'why was I charged twice');
      assert.deepEqual(complaints, []);
    },
    { path: '/blank/' },
  );
});

test('after its model crashed the next message loads a new one', async () => {
  await web.fresh(
    async ({ page }) => {
      await page.fill('#message', 'hello there');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.length > 0);
      for (const worker of page.workers()) {
        await worker.evaluate(() => {
          globalThis.postMessage = () => setTimeout(() => { throw new Error('spilled coffee'); });
        });
      }
      await page.fill('#message', 'my internet is down');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.error === 'worker_failed');
      assert.match((await part(page, 'note').textContent()) ?? '', /spilled coffee/);
      await page.fill('#message', 'why was I charged twice');
      await page.waitForFunction(() => /** @type {any} */ (window).seen.at(-1)?.result?.intent === 'billing');
      assert.equal((await seen(page)).filter(({ error }) => error).length, 1, 'told once');
      assert.ok(await part(page, 'note').isHidden());
    },
    { path: '/console/' },
  );
});

test('finds a field that comes later, shares a classifier, and ends its own when it goes', async () => {
  await web.fresh(
    async ({ page, complaints }) => {
      await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const element = document.createElement('relayops-intent');
        element.setAttribute('for', 'later');
        const classifier = await IntentClassifier.load();
        document.body.dataset.threads = String((await classifier.info()).threads);
        Object.assign(element, { classifier });
        document.body.append(element);
        const input = document.createElement('input');
        input.id = 'later';
        document.body.append(input);
      });
      await page.fill('#later', 'hello there');
      await part(page, 'intent').filter({ hasText: 'greeting' }).waitFor();
      const shared = page.workers().length;
      assert.equal(shared, Number(await page.evaluate(() => document.body.dataset.threads)), 'the Workers of the shared classifier');
      await page.evaluate(() => {
        document.querySelector('relayops-intent')?.remove();
        const own = document.createElement('relayops-intent');
        own.setAttribute('for', 'later');
        own.setAttribute('load', 'eager');
        document.body.append(own);
      });
      await part(page, 'intent').filter({ hasText: 'greeting' }).waitFor();
      assert.equal(page.workers().length, 2 * shared);
      await page.evaluate(() => document.querySelector('relayops-intent')?.remove());
      while (page.workers().length > shared) await page.waitForTimeout(20);
      assert.deepEqual(complaints, []);
    },
    { path: '/blank/' },
  );
});
