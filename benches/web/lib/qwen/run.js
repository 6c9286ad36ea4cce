/** Loads the engines of a plan and asks them in turns. */

import { complaintsOf } from '../../../../tests/web/lib/browser.js';
import { cellOf } from './cells.js';
import { loadNative } from './native.js';
import { schedule } from './plan.js';

/** @typedef {import('../../../../tests/web/lib/browser.js').Browser} Browser */
/** @typedef {import('../../../../tests/web/lib/browser.js').Page} Page */
/** @typedef {import('../../page/engines/large.js').Input} Input */
/** @typedef {import('../../page/engines/large.js').LargeEngine} LargeEngine */
/** @typedef {import('../../page/engines/large.js').Prompt} Prompt */
/** @typedef {import('../../page/engines/large.js').Sample} Sample */
/** @typedef {import('../../page/engines/large.js').Task} Task */
/** @typedef {import('./cells.js').LargeCell} LargeCell */
/** @typedef {import('./plan.js').CellPlan} CellPlan */
/** @typedef {import('./plan.js').EnginePlan} EnginePlan */
/** @typedef {import('./plan.js').Plan} Plan */

/** Before each call, so that the threads of the one before are at rest. */
const PAUSE_MS = 100;

/** None of the messages. */
const WARM_UP = 'hello, is anybody there';

/** Tokens of a raw prefill. */
const PREFILL = 128;

/** Eight words that are a token each, to as many tokens. */
const PREFILL_TEXT = ' the of and to in is it you'.repeat(PREFILL / 8);

/** Any ids do, since all cost the same; none is a control token. */
const PREFILL_TOKENS = Array.from({ length: PREFILL }, (_, index) => 1000 + 37 * index);

/** One engine, wherever it runs. */
class Seat {
  /** @type {Page} */
  #page;
  #name;
  /** @type {LargeEngine | null} */
  #native = null;
  /** @type {Record<string, unknown>} */
  about = {};

  /** @param {Page} page @param {string} name */
  constructor(page, name) {
    this.#page = page;
    this.#name = name;
  }

  /** @param {EnginePlan} plan @param {Prompt} prompt */
  async load({ choice, backend }, prompt) {
    if (choice.kind === 'native') {
      const start = performance.now();
      this.#native = await loadNative(choice.path, choice.threads, prompt);
      this.about = { ...this.#native.about, load_ms: performance.now() - start };
    } else {
      this.about = await this.#page.evaluate(
        async ({ name, choice }) => (await import('/qwen.js')).load(name, choice),
        { name: this.#name, choice },
      );
    }
    const { threads, backend: found } = this.about;
    if (threads !== choice.threads) throw new Error(`${this.#name} runs with ${threads} thread(s)`);
    if (backend !== undefined && found !== backend) throw new Error(`${this.#name} runs on ${found}`);
  }

  /** @param {Task} task @param {Input} input @returns {Promise<Sample>} */
  async ask(task, input) {
    const run = this.#native?.tasks[task];
    if (run) return run(input);
    return this.#page.evaluate(
      async ({ name, task, input }) => (await import('/qwen.js')).ask(name, task, input),
      { name: this.#name, task, input },
    );
  }

  async free() {
    await this.#native?.free();
  }
}

/**
 * @param {Browser} browser
 * @param {string} origin
 * @param {Plan} plan
 * @param {{ prompt: Prompt, messages: string[], random: () => number, say: (text: string) => void }} how
 * @returns {Promise<LargeCell[]>}
 */
export async function runPlan(browser, origin, plan, { prompt, messages, random, say }) {
  const context = await browser.newContext();
  const complaints = complaintsOf(context);
  const page = await context.newPage();
  await page.goto(`${origin}/qwen.html`);
  /** @type {Map<string, Seat>} */
  const seats = new Map();
  try {
    for (const engine of plan.engines) {
      const seat = new Seat(page, engine.name);
      await seat.load(engine, prompt);
      seats.set(engine.name, seat);
      say(`${engine.name} is loaded`);
    }
    const cells = await ask(plan.cells, seats, { messages, random, say });
    if (complaints.length > 0) throw new Error(`the page complained: ${complaints.join('; ')}`);
    return cells;
  } finally {
    for (const seat of seats.values()) await seat.free();
    await context.close();
  }
}

/**
 * @param {CellPlan[]} plans
 * @param {Map<string, Seat>} seats
 * @param {{ messages: string[], random: () => number, say: (text: string) => void }} how
 */
async function ask(plans, seats, { messages, random, say }) {
  const samples = plans.map(() => messages.map(() => /** @type {Sample[]} */ ([])));
  const calls = schedule(plans, random);
  // With another message, since a peer keeps what it has seen.
  for (const plan of warmUps(plans)) await seatOf(seats, plan).ask(plan.task, inputOf(plan, 0, [WARM_UP]));
  say('all are warm');
  let told = performance.now();
  for (const [index, { cell, message }] of calls.entries()) {
    const plan = plans[cell];
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    samples[cell][message].push(await seatOf(seats, plan).ask(plan.task, inputOf(plan, message, messages)));
    if (performance.now() - told > 20_000) {
      told = performance.now();
      say(`${index + 1} of ${calls.length} calls`);
    }
  }
  return plans.map((plan, index) => cellOf(plan, seatOf(seats, plan).about, samples[index]));
}

/**
 * The first call of an engine allocates; of the slow peers one task does for all.
 *
 * @param {CellPlan[]} plans
 */
function warmUps(plans) {
  const slow = (/** @type {CellPlan} */ { engine, task }) => engine.startsWith('wllama') && task !== 'smart';
  return plans.filter((plan) => !slow(plan));
}

/** @param {Map<string, Seat>} seats @param {CellPlan} plan @returns {Seat} */
function seatOf(seats, { engine }) {
  const seat = seats.get(engine);
  if (!seat) throw new Error(`${engine} was not loaded`);
  return seat;
}

/** @param {CellPlan} plan @param {number} message @param {string[]} messages @returns {Input} */
function inputOf({ task, size = 1 }, message, messages) {
  if (task === 'prefill') return { texts: [PREFILL_TEXT], tokens: PREFILL_TOKENS };
  const texts = Array.from({ length: size }, (_, index) => messages[(message + index) % messages.length]);
  return { texts, tokens: [] };
}
