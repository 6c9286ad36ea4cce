/** Chromium, and pages that record whatever they ought not to do. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { chromium as playwright } from 'playwright-core';
import { chromium } from './paths.js';

/** @typedef {import('playwright-core').Browser} Browser */
/** @typedef {import('playwright-core').BrowserContext} BrowserContext */
/** @typedef {import('playwright-core').Page} Page */

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** @returns {Promise<Browser>} */
export function launch() {
  return playwright.launch({ executablePath: chromium(), args: ARGS });
}

/**
 * Starts a browser over a profile of its own, as a process that can be killed.
 *
 * @param {string} folder Its profile.
 * @returns {Promise<{ context: BrowserContext, kill: () => Promise<void> }>} `kill` gives it no time to tidy up.
 */
export async function launchFolder(folder) {
  const args = [...ARGS, '--remote-debugging-port=0', `--user-data-dir=${folder}`, 'about:blank'];
  const child = spawn(chromium(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = async () => {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGKILL');
    await ended;
  };
  try {
    const browser = await playwright.connectOverCDP(await endpointOf(child));
    const [context] = browser.contexts();
    await context.addInitScript(installHelpers);
    return { context, kill };
  } catch (error) {
    await kill();
    throw error;
  }
}

/**
 * @param {import('node:child_process').ChildProcessByStdio<null, null, import('node:stream').Readable>} child
 * @returns {Promise<string>} Where it takes commands.
 */
async function endpointOf(child) {
  const said = [];
  for await (const line of createInterface(child.stderr)) {
    const [, endpoint] = /^DevTools listening on (ws:.+)$/.exec(line) ?? [];
    if (endpoint) {
      child.stderr.resume();
      return endpoint;
    }
    said.push(line);
  }
  throw new Error(`Chromium ended: ${said.join('\n')}`);
}

/**
 * @typedef {object} Visit
 * @property {Page} page
 * @property {BrowserContext} context
 * @property {string[]} requests Addresses of all requests so far, the Workers' too.
 * @property {string[]} complaints Console errors, uncaught errors and CSP violations so far.
 */

/**
 * @typedef {object} VisitOptions
 * @property {boolean} [keepModel] Leaves the page as it started.
 * @property {boolean} [isPrivate] Whether its privacy switch is on; it is if omitted.
 * @property {import('playwright-core').BrowserContextOptions} [context]
 */

/**
 * Opens the page in a fresh context, waits for all that it fetches and starts by itself, and
 * lets go of the model that it started with. Unless told otherwise its privacy switch is on, so that
 * no request of its own comes among those that a test counts.
 *
 * @param {Browser} browser
 * @param {string} origin
 * @param {(context: BrowserContext) => Promise<unknown>} [prepare] Before the page opens.
 * @param {VisitOptions} [options]
 * @returns {Promise<Visit>}
 */
export async function visit(browser, origin, prepare, { keepModel = false, isPrivate = true, context: given } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...given });
  /** @type {Visit['requests']} */
  const requests = [];
  context.on('request', (request) => requests.push(request.url()));
  const complaints = complaintsOf(context);
  await context.addInitScript(installHelpers);
  if (isPrivate) await context.addInitScript(turnPrivate);
  await prepare?.(context);
  const page = await context.newPage();
  await Promise.all([page.waitForResponse('**/models/index.json'), page.goto(`${origin}/`)]);
  await page.waitForSelector('#model-loaded:not([hidden]), #model-error:not([hidden])');
  if (!keepModel && (await page.isVisible('#unload'))) {
    await page.click('#unload');
    await noWorkers(page);
  }
  return { page, context, requests, complaints };
}

/**
 * @param {BrowserContext} context
 * @returns {string[]} Grows by whatever its pages and Workers complain about.
 */
export function complaintsOf(context) {
  /** @type {string[]} */
  const complaints = [];
  context.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' || text.startsWith('CSP ')) complaints.push(text);
  });
  context.on('weberror', (error) => complaints.push(`uncaught: ${error.error().message}`));
  return complaints;
}

/** Runs in the page before its own scripts. */
export function installHelpers() {
  document.addEventListener('securitypolicyviolation', (event) => {
    console.log(`CSP ${event.violatedDirective} ${event.blockedURI}`);
  });
  window.outcome = (promise) =>
    promise.then(
      (value) => ({ value, code: 'fulfilled', message: '', name: '' }),
      (error) => ({ value: undefined, code: String(error?.code), message: String(error?.message), name: String(error?.name) }),
    );
}

/** Runs in the page before its own scripts: as if somebody had turned the switch on before. */
function turnPrivate() {
  try {
    localStorage.setItem('relayops-private', 'on');
  } catch {
    // A page without an origin has no storage.
  }
}

/**
 * Waits until the page has no Worker left.
 *
 * @param {Page} page
 */
export async function noWorkers(page) {
  const deadline = Date.now() + 5_000;
  while (page.workers().length > 0) {
    if (Date.now() > deadline) throw new Error(`${page.workers().length} Workers are still there`);
    await page.waitForTimeout(20);
  }
}
