/** Small adapters for the tiny model: two sound ones, and others each wrong in one way. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, binary } from './paths.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */

/** @typedef {{ text: string, log_probabilities: number[] }} GoldenVector */

/** Files of an adapter, as the package names them. */
export const FILES = ['intent.json', 'adapter_config.json', 'adapter_model.safetensors'];

/** What the adapters are asked, in their golden answers too. */
export const TEXTS = ['my internet is down', 'why was I charged twice?', 'hello there', 'is my router online?'];

/** The tiny model's layers and the matrices that the adapters stand beside: output and input width. */
const LAYERS = 2;
const TARGETS = [
  { name: 'self_attn.q_proj', out: 256, in: 256 },
  { name: 'mlp.down_proj', out: 256, in: 512 },
];
const RANK = 2;
/** Seeds of the sound ones: such that their answers differ from each other's and from the model's. */
const SEEDS = { first: 1, second: 42 };
/** The engine's roundings are not the native ones; see real-model.test.js. */
const TOLERANCE = 0.25;

/**
 * Writes `first`, `second`, `elsewhere` (the first as PEFT leaves it), `other-base` and `untrue` into `folder`.
 *
 * @param {string} folder
 * @param {string} model Path of the tiny model.
 * @returns {Record<string, string>} Folders by name.
 */
export function makeAdapters(folder, model) {
  const sha256 = createHash('sha256').update(readFileSync(model)).digest('hex');
  /** @type {Record<string, string>} */
  const folders = {};
  const write = (/** @type {string} */ name, /** @type {number} */ seed, /** @type {object} */ intent) => {
    writeTwo(name, seed);
    // The second says nothing of its files, as the project's first adapters did.
    const promised = seed === SEEDS.second ? {} : { files: digests(folders[name]) };
    writeFileSync(join(folders[name], FILES[0]), JSON.stringify({ ...intent, ...promised }));
  };
  // As PEFT leaves it.
  const writeTwo = (/** @type {string} */ name, /** @type {number} */ seed) => {
    folders[name] = join(folder, name);
    mkdirSync(folders[name], { recursive: true });
    writeFileSync(join(folders[name], 'adapter_config.json'), JSON.stringify(config()));
    writeFileSync(join(folders[name], 'adapter_model.safetensors'), tensors(seed));
  };
  for (const [name, seed] of Object.entries(SEEDS)) {
    const threshold = name === 'first' ? 0.25 : 0.5;
    writeTwo(name, seed);
    const golden = native(model, folders[name], TEXTS, ['--force-adapter']).map((result, index) => vector(TEXTS[index], result));
    write(name, seed, intent(sha256, threshold, golden));
    if (name === 'first') {
      writeTwo('elsewhere', seed);
      write('other-base', seed, intent('0'.repeat(64), threshold, golden));
      golden[1].log_probabilities[2] -= 2;
      write('untrue', seed, intent(sha256, threshold, golden));
    }
  }
  return folders;
}

/**
 * @param {string} model
 * @param {string | null} adapter
 * @param {string[]} texts
 * @param {string[]} [more] Further options.
 * @returns {ClassifyResult[]}
 */
export function native(model, adapter, texts, more = []) {
  const options = ['--model', model, ...(adapter === null ? [] : ['--adapter', adapter]), ...more];
  const output = execFileSync(binary(), ['classify', '--json', ...options, '--', ...texts], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return output.trim().split('\n').map((line) => JSON.parse(line));
}

/**
 * @param {ClassifyResult['probabilities']} left
 * @param {ClassifyResult['probabilities']} right
 * @returns {number} Largest difference of two distributions over the same labels.
 */
export function distance(left, right) {
  if (!left || !right) return NaN;
  return Math.max(...Object.keys(left).map((label) => Math.abs(left[label] - right[label])));
}

/**
 * @param {import('./browser.js').BrowserContext} context
 * @param {Record<string, string>} folders Offered as `/adapters/<name>/`: the server offers models only.
 */
export async function offer(context, folders) {
  await context.route('**/adapters/**', async (route) => {
    const [name, file] = new URL(route.request().url()).pathname.split('/').slice(-2);
    if (!folders[name] || !FILES.includes(file) || !existsSync(join(folders[name], file))) return route.fulfill({ status: 404 });
    return route.fulfill({ path: join(folders[name], file), headers: { 'cross-origin-resource-policy': 'same-origin' } });
  });
}

/**
 * @param {string} folder
 * @returns {Record<string, string>} SHA-256 of the files beside `intent.json`, by name.
 */
function digests(folder) {
  const digest = (/** @type {string} */ file) => createHash('sha256').update(readFileSync(join(folder, file))).digest('hex');
  return Object.fromEntries(FILES.slice(1).map((file) => [file, digest(file)]));
}

/**
 * @param {string} sha256 Of the base.
 * @param {number} threshold
 * @param {GoldenVector[]} vectors
 */
function intent(sha256, threshold, vectors) {
  const config = JSON.parse(readFileSync(join(ROOT, 'src/pack/telecom.json'), 'utf8'));
  return {
    base: { name: 'tiny', sha256, licence: null },
    config: { ...config, threshold },
    golden: { tolerance: TOLERANCE, vectors },
  };
}

/**
 * @param {string} text
 * @param {ClassifyResult} result Its temperature is 1.
 * @returns {GoldenVector}
 */
function vector(text, { probabilities }) {
  return { text, log_probabilities: Object.values(probabilities ?? {}).map(Math.log) };
}

function config() {
  const targets = TARGETS.map(({ name }) => name.split('.')[1]);
  return { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: RANK, lora_alpha: 4, target_modules: targets, bias: 'none' };
}

/**
 * The layout of safetensors: the length of a JSON header, the header, the numbers.
 *
 * @param {number} seed
 * @returns {Buffer}
 */
function tensors(seed) {
  /** @type {Record<string, object>} */
  const header = {};
  /** @type {Buffer[]} */
  const data = [];
  let at = 0;
  const random = generator(seed);
  for (let layer = 0; layer < LAYERS; layer += 1) {
    for (const target of TARGETS) {
      for (const [part, shape] of /** @type {[string, number[]][]} */ ([['A', [RANK, target.in]], ['B', [target.out, RANK]]])) {
        const values = Float32Array.from({ length: shape[0] * shape[1] }, () => 0.4 * random());
        const bytes = Buffer.from(values.buffer);
        header[`base_model.model.model.layers.${layer}.${target.name}.lora_${part}.weight`] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] };
        data.push(bytes);
        at += bytes.length;
      }
    }
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  // Padded, so that numbers start at a multiple of eight.
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...data]);
}

/**
 * Numbers in -1 to 1 from a linear congruential generator.
 *
 * @param {number} seed
 */
function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}
