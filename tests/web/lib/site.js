/** An application of one's own around the package: a plain server and blank pages, under the stated policy. */

import { after, before } from 'node:test';
import { join } from 'node:path';
import { complaintsOf, installHelpers, launch } from './browser.js';
import { defined } from './defined.js';
import { makeModels } from './models.js';
import { ROOT, requireWasm } from './paths.js';
import { ISOLATED, POLICY, startStatic } from './static-server.js';

const BLANK = '<!doctype html><title>test</title>';

/**
 * Registers the hooks of a test file: `/pkg/` is the package, `/models/` has the small models.
 *
 * @param {Record<string, string>} [files] Further files by path.
 * @param {string} [policy] Of its pages and Workers.
 */
export function site(files = {}, policy = POLICY) {
  /** @type {import('./models.js').ModelFolder | undefined} */
  let models;
  /** @type {import('./static-server.js').StaticServer | undefined} */
  let server;
  /** @type {import('./browser.js').Browser | undefined} */
  let browser;
  before(async () => {
    requireWasm();
    models = makeModels();
    const folders = { '/pkg/': join(ROOT, 'pkg'), '/models/': models.folder };
    server = await startStatic(folders, { headers: { 'content-security-policy': policy, ...ISOLATED } });
    for (const [path, text] of Object.entries({ '/': BLANK, '/favicon.ico': '', ...files })) server.files.set(path, text);
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    models?.remove();
  });
  return {
    get server() {
      return defined(server);
    },
    get browser() {
      return defined(browser);
    },
    get models() {
      return defined(models);
    },
    /**
     * Gives `body` a fresh browser profile and a first page in it.
     *
     * @param {(given: { context: import('./browser.js').BrowserContext, page: import('./browser.js').Page, complaints: string[] }) => Promise<void>} body
     * @param {{ path?: string, prepare?: (context: import('./browser.js').BrowserContext) => Promise<unknown> }} [options]
     */
    async fresh(body, { path = '/', prepare } = {}) {
      const context = await defined(browser).newContext();
      const complaints = complaintsOf(context);
      await context.addInitScript(installHelpers);
      await prepare?.(context);
      try {
        const page = await context.newPage();
        await page.goto(defined(server).origin + path);
        await body({ context, page, complaints });
      } finally {
        await context.close();
      }
    },
  };
}
