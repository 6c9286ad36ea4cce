/** Files of the page, changed on their way. */

import assert from 'node:assert/strict';

/**
 * Serves a file of the page with some of its text changed. Of two calls for one file the later holds.
 *
 * @param {import('./browser.js').BrowserContext} context
 * @param {string} url
 * @param {...string} texts What to replace, and with what; and so on.
 */
export async function change(context, url, ...texts) {
  await context.route(url, async (route) => {
    const response = await route.fetch();
    let body = await response.text();
    for (let index = 0; index < texts.length; index += 2) {
      assert.ok(body.includes(texts[index]), `${url} has changed`);
      body = body.replace(texts[index], texts[index + 1]);
    }
    await route.fulfill({ response, body });
  });
}
