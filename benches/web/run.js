/**
 * The benchmark's driver. `cargo xtask bench-browser` builds what it needs and calls it.
 *
 * Data goes to stdout, progress and warnings to stderr.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from '../../tests/web/lib/browser.js';
import { measureCompact } from './lib/compact.js';
import { describeFile, load, machine, versions } from './lib/facts.js';
import { measureQwen } from './lib/qwen/measure.js';
import { ratios } from './lib/ratios.js';
import { firstTable, kernelTable, largeTable, memoryTable, ratioTable, steadyTable } from './lib/table.js';

/** @typedef {import('./lib/compact.js').Compact} Compact */
/** @typedef {import('./lib/qwen/measure.js').Qwen} Qwen */
/** @typedef {import('./lib/ratios.js').Ratios} Ratios */

/** Runnable processes beside the benchmark from which on its times are not worth keeping. */
const BUSY = 0.5;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    pack: { type: 'string' },
    peer: { type: 'string' },
    site: { type: 'string' },
    'qwen-pack': { type: 'string' },
    small: { type: 'string' },
    large: { type: 'string' },
    modules: { type: 'string' },
    'no-native': { type: 'boolean', default: false },
    'no-memory': { type: 'boolean', default: false },
  },
});

/** @type {'full' | 'quick'} */
const size = options.quick ? 'quick' : 'full';

/** @param {string} text */
const say = (text) => console.error(`bench: ${text}`);

/** @returns {Promise<Compact | null>} */
async function compact() {
  const { peer, site, pack } = options;
  if (peer === undefined || site === undefined) return null;
  return measureCompact({ peer, site, pack, size, say });
}

/** @returns {Promise<Qwen | null>} */
async function qwen() {
  const { 'qwen-pack': pack, small = null, large = null, modules = null } = options;
  if (pack === undefined) return null;
  const how = { size, withNative: !options['no-native'], withMemory: !options['no-memory'], say };
  return measureQwen(launch, { pack, small, large, modules }, how);
}

/** @returns {Promise<string>} */
async function chromiumVersion() {
  const browser = await launch();
  const version = browser.version();
  await browser.close();
  return version;
}

/**
 * @param {{ small: Compact | null, large: Qwen | null }} measured
 * @param {Ratios} found
 * @param {ReturnType<typeof versions>} about
 */
function print({ small, large }, found, about) {
  const { cpu, cores } = machine();
  const peers = ['onnxruntime-web', '@wllama/wllama', 'node-llama-cpp'].map((name) => `${name} ${about[/** @type {'node-llama-cpp'} */ (name)]}`);
  console.log(`Chromium ${about.chromium}, ${peers.join(', ')}, commit ${about.commit}; ${cores} cores, ${cpu}\n`);
  if (large) {
    console.log(`${largeTable(large.cells)}\n`);
    if (large.kernels.length > 0) console.log(`${kernelTable(large.kernels)}\n`);
    if (large.memory.length > 0) console.log(`${memoryTable(large.memory)}\n`);
  }
  if (small) {
    console.log(`${steadyTable(small.cells)}\n\nn = ${small.cells[0].ms.n} a cell, messages of 3 to 40 words.\n`);
    console.log(`${firstTable(small.first_answer)}\n\nn = ${small.first_answer[0].ms.n} a row, a new browser with an empty profile each.\n`);
    console.log(`Compact on one thread against two: ${small.threads_2.toFixed(2)}`);
    const same = small.same_label_as_fp32;
    if (same !== null) console.log(`Compact gives the label of the fp32 peer for ${same} of ${small.protocol.messages.length} messages`);
  }
  console.log(`\n${ratioTable(found)}`);
}

/** @returns {Record<string, import('./lib/facts.js').FileFacts | null>} */
function models() {
  const manifest = options['qwen-pack'] === undefined ? undefined : join(options['qwen-pack'], 'pack.json');
  const files = { compact: options.pack, small: options.small, large: options.large, qwen_pack: manifest };
  return Object.fromEntries(Object.entries(files).map(([name, path]) => [name, path === undefined ? null : describeFile(path)]));
}

async function main() {
  const before = load();
  if (before > BUSY) say(`the machine is busy (load ${before.toFixed(2)}): expect slow and scattered times`);
  const chromium = await chromiumVersion();
  const large = await qwen();
  const small = await compact();
  const measured = { cells: large?.cells ?? [], kernels: large?.kernels ?? [], memory: large?.memory ?? [], compactOrt: small?.compact_ort ?? null };
  const found = ratios(measured);
  const about = versions(chromium, small?.python ?? null);
  print({ small, large }, found, about);
  if (options.json === undefined) return;
  const report = {
    quick: options.quick,
    versions: about,
    machine: { ...machine(), load_before: before, load_after: load() },
    models: models(),
    ratios: found,
    qwen: large,
    compact: small,
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
