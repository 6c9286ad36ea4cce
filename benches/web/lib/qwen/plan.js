/** Which engines are asked for what, how often, and in which order. */

import { PACKAGES, PACK_URL, modelUrl } from './site.js';

/** @typedef {import('../../page/engines/large.js').LargeChoice} LargeChoice */
/** @typedef {import('../../page/engines/large.js').Task} Task */
/** @typedef {import('./prompt.js').PackConfig} PackConfig */
/** @typedef {import('../../page/engines/large.js').Prompt} Prompt */
/** @typedef {import('./site.js').Models} Models */

/** What the driver itself runs. @typedef {{ kind: 'native', path: string, threads: number }} NativeChoice */

/** `backend` is what ours must say that it runs on. @typedef {{ name: string, choice: LargeChoice | NativeChoice, backend?: string }} EnginePlan */

/**
 * @typedef {object} CellPlan
 * @property {string} engine
 * @property {Task} task
 * @property {number} messages How many of the messages are asked, from the first on.
 * @property {number} rounds How often each of them is.
 * @property {number} [size] Messages at a time, of a batch.
 */

/**
 * How thoroughly. `messages` times `rounds` is n of a quick engine's cell; a peer that takes many seconds an answer is
 * asked once.
 *
 * @typedef {{ rounds: number, messages: number, smart: number, naive: number, prefill: number }} Size
 */

/** @type {Record<'full' | 'quick', Size>} */
export const SIZES = {
  full: { rounds: 3, messages: 10, smart: 10, naive: 5, prefill: 5 },
  quick: { rounds: 1, messages: 1, smart: 1, naive: 1, prefill: 1 },
};

/** Messages at a time whose throughput is measured; one is a message's own cell. */
export const BATCHES = [8, 32];

const KERNELS = /** @type {const} */ (['relaxed-simd', 'simd128']);
const THREADS = [1, 2];

/** @param {string} model @param {number} threads @param {string} [kernels] */
export const ours = (model, threads, kernels = 'relaxed-simd') => `ours ${model} ${kernels} ${threads}`;
/** @param {string} model @param {number} threads */
export const instrumented = (model, threads) => `instrumented ${model} ${threads}`;
/** @param {string} model @param {number} threads */
export const wllama = (model, threads) => `wllama ${model} ${threads}`;
/** @param {string} model @param {number} threads */
export const wllamaNaive = (model, threads) => `wllama ${model} without cache ${threads}`;
/** @param {string} model */
export const native = (model) => `native ${model} 2`;

/**
 * Every build of the package.
 *
 * @param {string} model
 * @param {string} pack Address.
 * @param {PackConfig | undefined} config
 * @returns {EnginePlan[]}
 */
function builds(model, pack, config) {
  return KERNELS.flatMap((kernels) =>
    THREADS.map((threads) => ({
      name: ours(model, threads, kernels),
      backend: `cpu-${kernels}`,
      choice: /** @type {LargeChoice} */ ({ kind: 'ours', base: PACKAGES[kernels], pack, threads, ...(config && { config }) }),
    })),
  );
}

/** @param {EnginePlan[]} engines @param {Size} size @returns {CellPlan[]} */
function quickCells(engines, { messages, rounds }) {
  return engines.flatMap(({ name: engine }) => /** @type {CellPlan[]} */ ([
    { engine, task: 'message', messages, rounds },
    { engine, task: 'enter', messages, rounds },
  ]));
}

/**
 * @typedef {object} Plan
 * @property {EnginePlan[]} engines
 * @property {CellPlan[]} cells
 */

/**
 * The model with 0.5B parameters: the pack and the original file against the peers on the original file.
 *
 * @param {{ small: string, config: PackConfig, prompt: Prompt, size: Size, withNative: boolean }} options
 * @returns {Plan}
 */
export function smallPlan({ small, config, prompt, size, withNative }) {
  const url = modelUrl(small);
  const pack = builds('pack', PACK_URL, undefined);
  const original = builds('original', url, config);
  /** @type {EnginePlan[]} */
  const modules = THREADS.flatMap((threads) => [
    { name: instrumented('pack', threads), choice: { kind: 'module', model: { kind: 'pack', url: PACK_URL }, threads } },
    { name: instrumented('original', threads), choice: { kind: 'module', model: { kind: 'gguf', url }, threads } },
  ]);
  /** @type {EnginePlan[]} */
  // Two of each: what is asked without the cache would cost the other its cached prefix.
  const peers = [wllama, wllamaNaive].flatMap((name) =>
    THREADS.map((threads) => ({ name: name('0.5b', threads), choice: { kind: 'wllama', model: url, threads, prompt } })),
  );
  const { messages, rounds } = size;
  /** @type {CellPlan[]} */
  const cells = [
    ...quickCells([...pack, ...original], size),
    ...BATCHES.map((batch) => /** @type {CellPlan} */ ({ engine: ours('pack', 2), task: 'batch', messages, rounds, size: batch })),
    ...modules.map(({ name: engine }) => /** @type {CellPlan} */ ({ engine, task: 'prefill', messages, rounds })),
    ...THREADS.map((threads) => /** @type {CellPlan} */ ({ engine: instrumented('pack', threads), task: 'profile', messages, rounds })),
    ...THREADS.flatMap((threads) => /** @type {CellPlan[]} */ ([
      { engine: wllama('0.5b', threads), task: 'smart', messages: size.smart, rounds: 1 },
      { engine: wllamaNaive('0.5b', threads), task: 'naive', messages: size.naive, rounds: 1 },
      { engine: wllamaNaive('0.5b', threads), task: 'prefill', messages: size.prefill, rounds: 1 },
    ])),
  ];
  const beside = withNative ? nativePlan('0.5b', small, size) : { engines: [], cells: [] };
  return { engines: [...pack, ...original, ...modules, ...peers, ...beside.engines], cells: [...cells, ...beside.cells] };
}

/**
 * The model with 1.5B parameters, on two threads against the peers.
 *
 * @param {{ large: string, config: PackConfig, prompt: Prompt, size: Size, withNative: boolean }} options
 * @returns {Plan}
 */
export function largePlan({ large, config, prompt, size, withNative }) {
  const url = modelUrl(large);
  const own = builds('1.5b', url, config);
  /** @type {EnginePlan} */
  const peer = { name: wllama('1.5b', 2), choice: { kind: 'wllama', model: url, threads: 2, prompt } };
  const beside = withNative ? nativePlan('1.5b', large, size) : { engines: [], cells: [] };
  return {
    engines: [...own, peer, ...beside.engines],
    cells: [...quickCells(own, size), { engine: peer.name, task: 'smart', messages: size.smart, rounds: 1 }, ...beside.cells],
  };
}

/**
 * @param {string} model
 * @param {string} path
 * @param {Size} size
 * @returns {Plan}
 */
function nativePlan(model, path, { messages, rounds }) {
  const engine = native(model);
  return {
    engines: [{ name: engine, choice: { kind: 'native', path, threads: 2 } }],
    cells: [
      { engine, task: 'smart', messages, rounds },
      { engine, task: 'naive', messages, rounds },
      { engine, task: 'prefill', messages, rounds },
    ],
  };
}

/**
 * The order of all calls: message by message, the cells of each in an order of its own, so that what changes on the
 * machine meanwhile meets all alike. What is asked less often than there are rounds is spread over them.
 *
 * @param {readonly CellPlan[]} cells
 * @param {() => number} random From 0 up to, not including, 1.
 * @returns {{ cell: number, message: number }[]}
 */
export function schedule(cells, random) {
  const rounds = Math.max(...cells.map((cell) => cell.rounds));
  const messages = Math.max(...cells.map((cell) => cell.messages));
  /** @type {{ cell: number, message: number }[]} */
  const calls = [];
  for (let round = 0; round < rounds; round += 1) {
    for (let message = 0; message < messages; message += 1) {
      const due = cells.flatMap((cell, index) =>
        message < cell.messages && (round + message) % rounds < cell.rounds ? [{ cell: index, message, at: random() }] : [],
      );
      calls.push(...due.sort((a, b) => a.at - b.at).map(({ cell, message }) => ({ cell, message })));
    }
  }
  return calls;
}
