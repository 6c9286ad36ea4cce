/** Both sizes of Qwen2.5, one after the other in one browser, then what needs browsers of its own. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomNumbers } from '../../page/random.js';
import { HERE } from '../paths.js';
import { serveFiles } from './file-server.js';
import { kernelCells } from './kernels.js';
import { memoryCells } from './memory.js';
import { SIZES, largePlan, ours, smallPlan, wllama } from './plan.js';
import { readPrompt } from './prompt.js';
import { runPlan } from './run.js';
import { routes } from './site.js';

/** @typedef {import('../../../../tests/web/lib/browser.js').Browser} Browser */
/** @typedef {import('./cells.js').KernelCell} KernelCell */
/** @typedef {import('./cells.js').MemoryCell} MemoryCell */
/** @typedef {import('./plan.js').EnginePlan} EnginePlan */
/** @typedef {import('./cells.js').LargeCell} LargeCell */
/** @typedef {import('./site.js').Models} Models */

const SEED = 13;

/** New browsers for each engine's peak memory. */
const MEMORY_STARTS = { full: 3, quick: 1 };

/**
 * @typedef {object} Qwen
 * @property {LargeCell[]} cells
 * @property {KernelCell[]} kernels
 * @property {MemoryCell[]} memory
 * @property {string[]} messages
 */

/**
 * @param {() => Promise<Browser>} launch
 * @param {Models & { pack: string }} models
 * @param {{ size: 'full' | 'quick', withNative: boolean, withMemory: boolean, say: (text: string) => void }} how
 * @returns {Promise<Qwen>}
 */
export async function measureQwen(launch, models, { size, withNative, withMemory, say }) {
  const { config, prompt } = readPrompt(models.pack);
  /** @type {string[]} */
  const all = JSON.parse(readFileSync(join(HERE, 'messages.json'), 'utf8'));
  const messages = all.slice(0, SIZES.full.messages);
  const common = { config, prompt, size: SIZES[size], withNative };
  const plans = [
    ...(models.small === null ? [] : [smallPlan({ small: models.small, ...common })]),
    ...(models.large === null ? [] : [largePlan({ large: models.large, ...common })]),
  ];
  const server = await serveFiles(routes(models));
  /** @type {Qwen} */
  const qwen = { cells: [], kernels: [], memory: [], messages };
  try {
    const browser = await launch();
    try {
      if (models.modules !== null) qwen.kernels = await kernelCells(browser, server.origin);
      const how = { prompt, messages, random: randomNumbers(SEED), say };
      for (const plan of plans) qwen.cells.push(...(await runPlan(browser, server.origin, plan, how)));
    } finally {
      await browser.close();
    }
    if (withMemory) {
      const engines = plans.flatMap((plan) => plan.engines).filter(({ name }) => MEASURED_MEMORY.includes(name));
      qwen.memory = await memoryCells(server.origin, engines, { starts: MEMORY_STARTS[size], messages, say });
    }
    return qwen;
  } finally {
    await server.stop();
  }
}

/** The engines whose tabs are measured. */
const MEASURED_MEMORY = [1, 2].flatMap((threads) => [
  ours('original', threads),
  ours('pack', threads),
  wllama('0.5b', threads),
  ours('1.5b', threads),
  wllama('1.5b', threads),
]);
