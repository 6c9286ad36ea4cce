/** Models on a GPU, and GPUs that fail when a test wants them to. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { change } from './change.js';
import { ROOT, binary } from './paths.js';

/** @typedef {import('./browser.js').BrowserContext} BrowserContext */
/** @typedef {import('./browser.js').Page} Page */
/** @typedef {import('/pkg/index.js').LoadOptions} LoadOptions */
/** @typedef {Pick<LoadOptions, 'backend' | 'threads' | 'cascade'> & { pack?: string, adapter?: string }} Options */

/** @type {string[]} */
export const MESSAGES = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));
/** Of a probability: the CPU rounds activations to 8 bits, which random weights amplify. */
export const TOLERANCE = 0.1;
/** The same for trained weights. */
export const TRAINED_TOLERANCE = 0.03;

/**
 * Makes a pack of the tiny model beside it.
 *
 * @param {import('./models.js').ModelFolder} models
 */
export function makePack({ folder, tiny }) {
  const origin = join(folder, 'origin.json');
  writeFileSync(origin, JSON.stringify({ base: 'tiny', sha256: '0'.repeat(64), licence: 'MIT', notices: '' }));
  const args = ['pack', '--base', tiny, '--out', join(folder, 'tiny-pack'), '--name', 'tiny', '--origin', origin, '--quant', 'q4_k,embedding=q8_0'];
  execFileSync(binary(), args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/**
 * Serves the pack's files as `/tiny-pack/`, its manifest changed where asked.
 *
 * @param {BrowserContext} context
 * @param {import('./models.js').ModelFolder} models
 * @param {(manifest: any) => void} [edit]
 */
export async function servePack(context, { folder }, edit = () => {}) {
  await context.route('**/tiny-pack/*', async (route) => {
    const name = new URL(route.request().url()).pathname.split('/').at(-1) ?? '';
    const body = readFileSync(join(folder, 'tiny-pack', name));
    if (name !== 'pack.json') return route.fulfill({ status: 200, body });
    const manifest = JSON.parse(body.toString('utf8'));
    edit(manifest);
    return route.fulfill({ status: 200, body: JSON.stringify(manifest) });
  });
}

/** Texts that take the device away when they are begun, or while they are under way; once each. */
export const LOSE = 'lose the device now';
export const LOSE_AGAIN = 'lose the device once more';
export const LOSE_LATER = 'later, lose the device';
/** Has the device refuse a buffer, which a text this long needs. */
export const REFUSE = `refuse a buffer ${'for once '.repeat(30)}`.trim();
/** Has the device drop the commands that it is given next, and say nothing of it. */
export const DROP = 'drop the next commands';
/** Has its driver fail, which is neither its validation nor want of memory. */
export const FAIL = 'have the driver fail';

/** For `withFaults`: while an adapter is set. */
const AT_ADAPTER = 'an adapter';

/**
 * What a device says of a driver that does not compile a sound shader.
 *
 * @param {string} message
 */
export function internalError(message) {
  return `new GPUUncapturedErrorEvent('uncapturederror', { error: new GPUInternalError('${message}'), cancelable: true })`;
}

/** In the Worker, before anything else: `strike` makes those texts come true. */
const STRIKES = `
let [isRefusing, isDropping] = [false, false];
let driven;
const lose = () => globalThis.device.destroy();
const strikes = new Map(Object.entries({
  '${LOSE}': lose,
  '${LOSE_AGAIN}': lose,
  '${AT_ADAPTER}': lose,
  '${REFUSE}': () => (isRefusing = true),
  '${DROP}': () => (isDropping = true),
  '${FAIL}': () => driven.dispatchEvent(${internalError('driver')}),
}));
let later = 4;
globalThis.strike = (text) => {
  strikes.get(text)?.();
  strikes.delete(text);
  if (text === '${LOSE_LATER}' && (later -= 1) === 0) lose();
};
const create = GPUDevice.prototype.createBuffer;
GPUDevice.prototype.createBuffer = function (descriptor) {
  driven = this;
  const usage = isRefusing ? 0 : descriptor.usage;
  isRefusing = false;
  return create.call(this, { ...descriptor, usage });
};
const submit = GPUQueue.prototype.submit;
GPUQueue.prototype.submit = function (commands) {
  if (!isDropping) return submit.call(this, commands);
  isDropping = false;
};
`;

/**
 * Lets the texts above do what they say.
 *
 * @param {BrowserContext} context
 * @param {{ more?: string[], atAdapter?: boolean }} [options] Further changes of pkg/engine/gpu.js, and whether the device is lost
 *   while the first adapter is set.
 */
export async function withFaults(context, { more = [], atAdapter = false } = {}) {
  const worker = 'const engine = new Engine(';
  await change(context, '**/pkg/worker.js', worker, `${STRIKES}\n${worker}`);
  const opened = 'const device = await exports.Gpu.open();';
  const [begin, advance] = ['let step = classifier.begin(text', 'step = classifier.advance();'];
  const changes = [opened, opened.replace('await', 'globalThis.device = await'), begin, `globalThis.strike(text);\n  ${begin}`, advance, `globalThis.strike(text);\n    ${advance}`];
  await change(context, '**/pkg/engine/gpu.js', ...changes, ...more);
  const typed = 'for (let step = classifier.begin(text';
  const adapter = 'const list = this.#model().exports.adapter_files();';
  const lost = atAdapter ? [adapter, `globalThis.strike('${AT_ADAPTER}');\n    ${adapter}`] : [];
  await change(context, '**/pkg/engine/engine.js', typed, `globalThis.strike(text);\n      ${typed}`, ...lost);
}

/**
 * Loads a model in the page, asks it some messages, and tells what ran.
 *
 * @param {Page} page
 * @param {Options} options
 * @param {string[]} [messages]
 */
export function ask(page, options, messages = MESSAGES) {
  return page.evaluate(
    async ({ options, messages }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {Set<string>} */
      const phases = new Set();
      const classifier = await IntentClassifier.load({ ...options, onProgress: ({ phase }) => phases.add(phase) });
      /** @type {import('/pkg/index.js').ClassifyResult[]} */
      const results = [];
      /** @type {import('/pkg/index.js').ModelInfo[]} */
      const infos = [];
      for (const message of messages) {
        results.push(await classifier.classify(message));
        infos.push(await classifier.info());
      }
      const info = await classifier.info();
      classifier.dispose();
      return { results, infos, info, phases: [...phases] };
    },
    { options, messages },
  );
}
