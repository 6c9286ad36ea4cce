/** Peak memory of a tab: a new browser for each engine, one page, one model, three messages. */

import { readFileSync } from 'node:fs';
import { launch } from '../../../../tests/web/lib/browser.js';

/** @typedef {import('../../page/engines/large.js').LargeChoice} LargeChoice */
/** @typedef {import('../../page/engines/large.js').Task} Task */
/** @typedef {import('./cells.js').MemoryCell} MemoryCell */
/** @typedef {import('./plan.js').EnginePlan} EnginePlan */

const MESSAGES = 3;

/**
 * @param {string} origin
 * @param {EnginePlan[]} engines In the browser, all of them.
 * @param {{ starts: number, messages: string[], say: (text: string) => void }} how
 * @returns {Promise<MemoryCell[]>}
 */
export async function memoryCells(origin, engines, { starts, messages, say }) {
  const cells = engines.map(({ name }) => ({ engine: name, peak_bytes: /** @type {number[]} */ ([]) }));
  for (let start = 0; start < starts; start += 1) {
    for (const [index, { name, choice }] of engines.entries()) {
      if (choice.kind === 'native') throw new Error(`${name} runs in no tab`);
      cells[index].peak_bytes.push(await peak(origin, name, choice, messages.slice(0, MESSAGES)));
      say(`memory of ${name}: ${(cells[index].peak_bytes[start] / 2 ** 20).toFixed(0)} MiB`);
    }
  }
  return cells;
}

/**
 * @param {string} origin
 * @param {string} name
 * @param {LargeChoice} choice
 * @param {string[]} messages
 * @returns {Promise<number>}
 */
async function peak(origin, name, choice, messages) {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(`${origin}/qwen.html`);
    /** @type {Task} */
    const task = choice.kind === 'wllama' ? 'smart' : 'message';
    await page.evaluate(
      async ({ name, choice, task, messages }) => {
        const { load, ask } = await import('/qwen.js');
        await load(name, choice);
        for (const text of messages) await ask(name, task, { texts: [text], tokens: [] });
      },
      { name, choice, task, messages },
    );
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    const peaks = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => peakOf(id));
    if (peaks.length === 0) throw new Error('the browser names no process of a page');
    // Another one is kept ready for a next page.
    return Math.max(...peaks);
  } finally {
    await browser.close();
  }
}

/**
 * @param {number} pid
 * @returns {number} Peak resident memory in bytes (`VmHWM` in proc(5)).
 */
function peakOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const found = /^VmHWM:\s*(\d+) kB$/m.exec(status);
  if (!found) throw new Error('this system does not tell the peak memory of a process: leave it out with --skip memory');
  return Number(found[1]) * 1024;
}
