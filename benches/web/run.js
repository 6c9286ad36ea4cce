/**
 * The benchmark's driver. `cargo xtask bench-browser` builds what it needs and calls it.
 *
 * Data goes to stdout, progress and warnings to stderr.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from '../../tests/web/lib/browser.js';
import { startServer } from '../../tests/web/lib/server.js';
import { cells, compactOrt, sameLabels, secondThread } from './lib/cells.js';
import { describeFile, load, machine, versions } from './lib/facts.js';
import { firstAnswers } from './lib/first.js';
import { readPeer } from './lib/peer.js';
import { makeSite } from './lib/site.js';
import { plan, run } from './lib/steady.js';
import { firstTable, steadyTable } from './lib/table.js';

/** Rounds give n = 24 messages times that many for each cell. */
const FULL = { rounds: 5, starts: 7 };
const QUICK = { rounds: 1, starts: 2 };

/** Runnable processes beside the benchmark from which on its times are not worth keeping. */
const BUSY = 0.5;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    pack: { type: 'string' },
    peer: { type: 'string' },
    site: { type: 'string' },
  },
});

/** @param {string} text */
const say = (text) => console.error(`bench: ${text}`);

/**
 * @param {'peer' | 'site'} name
 * @returns {string}
 */
function folder(name) {
  const value = options[name];
  if (value === undefined) throw new Error(`--${name} is missing: run \`cargo xtask bench-browser\``);
  return value;
}

/** @param {string} origin @param {string | undefined} pack @param {import('./lib/peer.js').Peer} peer */
async function measureAll(origin, pack, peer) {
  const size = options.quick ? QUICK : FULL;
  const protocol = { ...plan({ messages: peer.messages.map(({ text }) => text), rounds: size.rounds, pack }), starts: size.starts };
  const browser = await launch();
  const chromium = browser.version();
  const measured = await run(browser, origin, protocol, say).finally(() => browser.close());
  const steady = cells(measured, peer);
  const first = await firstAnswers(origin, size.starts, pack, say);
  return { chromium, protocol, steady, first, same: sameLabels(measured, peer), second: secondThread(measured) };
}

/** @param {Awaited<ReturnType<typeof measureAll>>} results @param {import('./lib/peer.js').Peer} peer */
function print({ chromium, steady, first, same, second }, peer) {
  const about = versions(chromium, peer.versions);
  const { cpu, cores } = machine();
  console.log(`Chromium ${chromium}, onnxruntime-web ${about['onnxruntime-web']}, commit ${about.commit}; ${cores} cores, ${cpu}\n`);
  console.log(`${steadyTable(steady)}\n\nn = ${steady[0].ms.n} a cell, ${peer.messages.length} messages of 3 to 40 words.\n`);
  console.log(`${firstTable(first)}\n\nn = ${first[0].ms.n} a row, a new browser with an empty profile each.\n`);
  const key = compactOrt(steady);
  if (key !== null) console.log(`compact_ort: ${key.toFixed(2)} (above 1, ours is faster than the better peer at 1 thread)`);
  else console.log("compact_ort: none. Ours did not run the peer's architecture and size on 1 thread.");
  console.log(`threads_2: ${second.toFixed(2)} (ours on one thread against ours on two)`);
  if (same !== null) console.log(`ours gives the label of the fp32 peer for ${same} of ${peer.messages.length} messages`);
}

async function main() {
  const peer = readPeer(folder('peer'));
  const pack = makeSite(folder('site'), folder('peer'), options.pack);
  const before = load();
  if (before > BUSY) say(`the machine is busy (load ${before.toFixed(2)}): expect slow and scattered times`);
  const server = await startServer({ root: folder('site') });
  const results = await measureAll(server.origin, pack, peer).finally(() => server.stop());
  print(results, peer);
  if (options.json === undefined) return;
  const { messages, versions: python, ...described } = peer;
  const report = {
    quick: options.quick,
    versions: versions(results.chromium, python),
    machine: { ...machine(), load_before: before, load_after: load() },
    protocol: results.protocol,
    peer: described,
    pack: options.pack === undefined ? null : describeFile(options.pack),
    cells: results.steady,
    first_answer: results.first,
    same_label_as_fp32: results.same,
    ratios: { compact_ort: compactOrt(results.steady), [`threads_2_${results.steady[0].about.stage}`]: results.second },
  };
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
  say(`wrote ${options.json}`);
}

try {
  await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
