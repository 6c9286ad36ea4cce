/** Browsers that compute wrongly. */

import assert from 'node:assert/strict';

/** @typedef {import('./browser.js').BrowserContext} BrowserContext */

/** `i32x4.dot_i16x8_s` and `i32x4.mul`: of the same types, with other results. */
const [DOT, MULTIPLY] = [Buffer.of(0xfd, 0xba, 0x01), Buffer.of(0xfd, 0xb5, 0x01)];

/**
 * A browser in which these builds execute one instruction as if it were another.
 *
 * @param {string[]} builds
 */
export function miscomputing(builds) {
  return async (/** @type {BrowserContext} */ context) => {
    for (const build of builds) {
      await context.route(`**/pkg/wasm/${build}/*.wasm`, async (route) => {
        const response = await route.fetch();
        const body = await response.body();
        let changed = 0;
        for (let at = body.indexOf(DOT); at >= 0; at = body.indexOf(DOT, at + DOT.length)) {
          MULTIPLY.copy(body, at);
          changed += 1;
        }
        assert.ok(changed > 0, `${build} has the instruction`);
        await route.fulfill({ response, body });
      });
    }
  };
}
