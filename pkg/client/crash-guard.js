/**
 * Keeps a page from dying again and again of a model that is too big for its device.
 *
 * A tab that runs out of memory ends without a word. So a mark is left in `localStorage` before a
 * model is loaded, and taken away when loading ends, however it ends. A mark whose loader is gone,
 * which its lock tells, is that of a tab that died.
 *
 * @module
 */

import { defaultPack } from './default-pack.js';

/** @typedef {import('../protocol.js').StageSource} StageSource */
/** @typedef {{ stage: StageSource, readChunk?: import('./worker-client.js').ReadChunk }} OpenedStage */
/** @typedef {{ lock: string, died?: number }} Mark */

const KEY = 'relayops-intent/loading';

/** How long a death counts, in milliseconds: a day. */
const MEMORY_MS = 24 * 60 * 60 * 1000;

/**
 * What to load in place of what was asked for, if that killed a tab before.
 *
 * @param {OpenedStage[]} wanted
 * @param {boolean} retry Load it all the same.
 * @returns {Promise<{ stages: OpenedStage[], fallback: import('../api.js').Fallback | null, done: () => void }>}
 *   `done` has to be called when loading has ended.
 */
export async function guarded(wanted, retry) {
  const name = wanted.filter(({ stage }) => !isDefault(stage)).map(({ stage }) => nameOf(stage)).join(' + ');
  const locks = globalThis.navigator?.locks;
  if (name === '' || !locks || !readMarks()) return { stages: wanted, fallback: null, done: () => {} };
  const died = await deathOf(name, locks);
  if (died !== null && !retry) return { stages: withoutRisk(wanted), fallback: fallbackOf(name, died), done: () => {} };
  return { stages: wanted, fallback: null, done: await leaveMark(name, locks) };
}

/**
 * @param {string} name
 * @param {LockManager} locks
 * @returns {Promise<number | null>} When a tab died of it.
 */
async function deathOf(name, locks) {
  const mark = readMarks()?.[name];
  if (!mark) return null;
  if (mark.died !== undefined) return Date.now() - mark.died < MEMORY_MS ? mark.died : null;
  const { held = [] } = await locks.query();
  if (held.some((lock) => lock.name === mark.lock)) return null;
  const died = Date.now();
  writeMark(name, { ...mark, died });
  return died;
}

/**
 * @param {string} name
 * @param {LockManager} locks
 * @returns {Promise<() => void>} Takes it away.
 */
async function leaveMark(name, locks) {
  const lock = `${KEY}/${crypto.randomUUID()}`;
  /** @type {() => void} */
  let release = () => {};
  const held = new Promise((resolve) => (release = () => resolve(undefined)));
  await new Promise((resolve) => void locks.request(lock, () => (resolve(undefined), held)));
  writeMark(name, { lock });
  const done = () => {
    globalThis.removeEventListener?.('pagehide', done);
    // Not that of another tab which began later.
    if (readMarks()?.[name]?.lock === lock) writeMark(name, null);
    release();
  };
  // A person who leaves while it loads has not been failed by it.
  globalThis.addEventListener?.('pagehide', done);
  return done;
}

/**
 * The models of a cascade that were not the risk; the package's own where there are none.
 *
 * @param {OpenedStage[]} wanted
 * @returns {OpenedStage[]}
 */
function withoutRisk(wanted) {
  const safe = wanted.filter(({ stage }) => isDefault(stage));
  return safe.length > 0 ? safe.slice(0, 1) : [{ stage: { source: defaultPack() } }];
}

/**
 * @param {string} name
 * @param {number} died
 * @returns {import('../api.js').Fallback}
 */
function fallbackOf(name, died) {
  const message = `the tab ended at ${new Date(died).toISOString()} or before, while it loaded ${name}: the package’s own model runs instead; load({ afterCrash: 'retry' }) tries again`;
  return { wanted: name, code: 'crashed', message };
}

/** @param {StageSource} stage */
function isDefault({ source }) {
  return source.kind === 'pack' && Object.keys(source.files).length > 0;
}

/**
 * @param {StageSource} stage
 * @returns {string}
 */
function nameOf({ source }) {
  switch (source.kind) {
    case 'pack':
      return source.manifest;
    case 'url':
      return source.url;
    case 'blob':
      return `${source.name} (${source.blob.size} bytes)`;
    case 'feed':
      return `${source.name} (${source.bytes} bytes)`;
  }
}

/** @returns {Record<string, Mark> | null} Nothing where there is no such storage, or it is forbidden. */
function readMarks() {
  try {
    return JSON.parse(globalThis.localStorage.getItem(KEY) ?? '{}');
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {Mark | null} mark
 */
function writeMark(name, mark) {
  const { [name]: _, ...others } = readMarks() ?? {};
  const marks = mark ? { ...others, [name]: mark } : others;
  try {
    if (Object.keys(marks).length > 0) globalThis.localStorage.setItem(KEY, JSON.stringify(marks));
    else globalThis.localStorage.removeItem(KEY);
  } catch {
    // Full or forbidden: there is no guard then.
  }
}
