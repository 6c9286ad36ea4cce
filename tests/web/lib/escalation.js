/** Escalation in a page, and the inbox at the other end. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths.js';

/** @typedef {import('./browser.js').Page} Page */
/** @typedef {import('/pkg/index.js').EscalationOptions} EscalationOptions */

/** Arguments of a server whose rate limit no test meets by chance. */
export const UNLIMITED = ['--rate', '100000', '--burst', '100000'];

/** Path of the inbox. */
export const INBOX = '/api/escalations';

/** A message that escalates whatever the model says, and what is left of it. */
export const SECRET = 'charge my card 4111 1111 1111 1111, mail me at ann@example.com';
export const REDACTED = 'charge my card [payment card], mail me at [email]';

/**
 * Loads compact into the page and notes the events of its outbox.
 *
 * @param {Page} page
 * @param {'off' | { url: string, maxAgeMs?: number }} [escalation]
 */
export async function load(page, escalation = { url: INBOX }) {
  await page.evaluate(async (escalation) => {
    const { IntentClassifier } = await import('/pkg/index.js');
    window.clf = await IntentClassifier.load({ escalation });
    window.events = [];
    for (const type of ['queued', 'sent', 'failed']) {
      window.clf.outbox?.addEventListener(type, (event) => {
        window.events.push({ type, key: /** @type {CustomEvent} */ (event).detail.key });
      });
    }
  }, escalation);
}

/**
 * @param {Page} page
 * @param {string[]} texts
 * @returns {Promise<import('/pkg/index.js').ClassifyResult[]>} When all that escalated is stored.
 */
export function classifyAll(page, texts) {
  return page.evaluate(async (texts) => {
    const results = [];
    for (const text of texts) results.push(await window.clf.classify(text));
    await window.clf.outbox?.stored();
    return results;
  }, texts);
}

/** @param {Page} page */
export function entries(page) {
  return page.evaluate(() => window.clf.outbox?.list() ?? []);
}

/**
 * Waits until the outbox holds so many of each state.
 *
 * @param {Page} page
 * @param {{ queued: number, sent: number, failed: number }} counts
 */
export async function waitForCounts(page, counts) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = await page.evaluate(() => window.clf.outbox?.counts());
    if (JSON.stringify(found) === JSON.stringify(counts)) return;
    if (Date.now() > deadline) throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(counts)}`);
    await page.waitForTimeout(50);
  }
}

/**
 * Waits until a message in the outbox has met an error.
 *
 * @param {Page} page
 * @param {string} [code] Any, if omitted.
 */
export async function waitForError(page, code) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = await entries(page);
    if (found.some(({ error }) => error && (code === undefined || error.code === code))) return;
    if (Date.now() > deadline) throw new Error(`no error ${code ?? ''}: ${JSON.stringify(found)}`);
    await page.waitForTimeout(50);
  }
}

/**
 * @typedef {{ id: number, text: string, intent: string, reason: string, handled_ms: number | null, redactions: string[] }} InboxItem
 */

/**
 * @param {string} origin
 * @returns {Promise<InboxItem[]>} The whole inbox, newest first.
 */
export async function inbox(origin) {
  /** @type {InboxItem[]} */
  const items = [];
  let before = '';
  for (;;) {
    const response = await fetch(`${origin}${INBOX}?limit=200${before}`);
    const page = /** @type {{ items: InboxItem[], next: number | null }} */ (await response.json());
    items.push(...page.items);
    if (page.next === null) return items;
    before = `&before=${page.next}`;
  }
}

/**
 * @typedef {{ url: string, key: string, body: string, at: number }} Post
 */

/**
 * @param {import('./browser.js').BrowserContext} context
 * @returns {Post[]} Grows by every request of the context with a body.
 */
export function postsOf(context) {
  /** @type {Post[]} */
  const posts = [];
  context.on('request', (request) => {
    if (request.method() !== 'GET') {
      posts.push({ url: request.url(), key: request.headers()['idempotency-key'], body: request.postData() ?? '', at: Date.now() });
    }
  });
  return posts;
}

/**
 * @param {number} count
 * @returns {string[]} Messages of the adversarial set.
 */
export function messages(count) {
  const lines = readFileSync(join(ROOT, 'data/adversarial.jsonl'), 'utf8').trimEnd().split('\n').slice(0, count);
  if (lines.length < count) throw new Error(`there are ${lines.length} messages only`);
  return lines.map((line) => JSON.parse(line).text);
}
