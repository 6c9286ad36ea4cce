/** What every browser test needs: models, server and browser, started once a file. */

import { after, before } from 'node:test';
import { launch, visit } from './browser.js';
import { defined } from './defined.js';
import { makeModels } from './models.js';
import { startServer } from './server.js';

/** @typedef {import('./browser.js').Visit} Visit */

/**
 * Registers the hooks of a test file.
 *
 * @param {{ models?: string, args?: string[], gpu?: boolean }} [options] Folder to offer instead of the small models,
 *   further arguments of the server, and whether the browser has WebGPU.
 */
export function suite({ models: folder, args, gpu } = {}) {
  /** @type {import('./models.js').ModelFolder | undefined} */
  let models;
  /** @type {Awaited<ReturnType<typeof startServer>> | undefined} */
  let server;
  /** @type {import('./browser.js').Browser | undefined} */
  let browser;

  before(async () => {
    if (!folder) models = makeModels();
    server = await startServer({ models: folder ?? defined(models).folder, args });
    browser = await launch({ gpu });
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    models?.remove();
  });

  return {
    /** @returns {string} */
    origin: () => defined(server).origin,
    browser: () => defined(browser),
    models: () => defined(models),
    /**
     * Opens the page, hands it to `body`, and closes it.
     *
     * @param {(visit: Visit) => Promise<void>} body
     * @param {(context: import('./browser.js').BrowserContext) => Promise<unknown>} [prepare]
     * @param {import('./browser.js').VisitOptions} [options]
     */
    async withPage(body, prepare, options) {
      const opened = await visit(defined(browser), defined(server).origin, prepare, options);
      try {
        await body(opened);
      } finally {
        await opened.context.close();
      }
    },
  };
}
