/**
 * Escalated messages on their way to a person. Each is redacted, then stored, then sent until the
 * server acknowledges it under its UUID; then its text is erased.
 *
 * @module
 */

import { bodyOf } from './body.js';
import { checkEscalation } from './options.js';
import { MAX_RETRY_AFTER_MS, eitherOf, send } from './send.js';
import { CHANNEL, eraseInTime, expired, openStore } from './store.js';
import { IntentError } from '../errors.js';

/** @typedef {import('../api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('./options.js').EscalationSettings} EscalationSettings */
/** @typedef {import('./types.js').EscalationOptions} EscalationOptions */
/** @typedef {import('./types.js').OutboxEntry} OutboxEntry */
/** @typedef {import('./types.js').OutboxItem} OutboxItem */
/** @typedef {import('./types.js').OutboxRecord} OutboxRecord */
/** @typedef {import('./types.js').OutboxState} OutboxState */

/** Most messages that wait for one address. */
const MAX_QUEUED = 1_000;

/** Longest that a timer may be set for, in milliseconds; then it looks again. */
const MAX_TIMER_MS = 60 * 60_000;

/**
 * The queue of one server address, shared by all pages of the origin. Events `queued`, `sent` and
 * `failed` are `CustomEvent`s whose `detail` is an {@link OutboxItem}; they tell of other pages’
 * messages too.
 */
export class Outbox extends EventTarget {
  /** @type {EscalationSettings} */
  #settings;
  /** @type {import('./store.js').Store} */
  #store;
  /** @type {BroadcastChannel | null} */
  #channel;
  /** Nothing is sent from here any more, be it by this page only or by all. */
  #stop = new AbortController();
  /** Settles when all that waited was taken back: escalation is off. @type {Promise<void> | null} */
  #withdrawing = null;
  #closed = false;
  #erasing = new AbortController();
  /** What is under way. @type {{ key: string, end: AbortController } | null} */
  #sending = null;
  /** Messages being redacted and stored. @type {Set<Promise<void>>} */
  #storing = new Set();
  /** @type {Promise<void> | null} */
  #pumping = null;
  #pumpAgain = false;
  /** When the latest message was taken. */
  #lastMs = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @private
   * @param {EscalationSettings} settings
   * @param {import('./store.js').Store} store
   */
  constructor(settings, store) {
    super();
    this.#settings = settings;
    this.#store = store;
    this.#channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(CHANNEL);
    this.#channel?.addEventListener('message', (event) => void this.#onOther(event.data));
    globalThis.addEventListener?.('online', this.#onOnline);
    eraseInTime(this.#erasing.signal);
    this.#pump();
  }

  /**
   * Opens the queue of an address; what waits there is sent.
   *
   * @param {EscalationOptions} options
   * @returns {Promise<Outbox>}
   * @throws {IntentError} `invalid_argument`
   */
  static async open(options) {
    const settings = checkEscalation(options);
    if (!settings) throw new IntentError('invalid_argument', 'escalation: an outbox needs an address');
    return new Outbox(settings, await openStore());
  }

  /** Whether messages outlive the page; not where the browser refuses IndexedDB. */
  get durable() {
    return this.#store.durable;
  }

  /** Where messages are sent. */
  get url() {
    return this.#settings.url;
  }

  /**
   * Takes a message, without making the caller wait. It is stored when `queued` is emitted.
   *
   * @param {string} text As the customer wrote it; redacted before anything else.
   * @param {ClassifyResult} result
   * @returns {string} The key of its item.
   * @throws {IntentError} `disposed` after {@link close}
   */
  enqueue(text, result) {
    if (this.#closed) throw new IntentError('disposed', 'the outbox was closed');
    const key = newKey();
    const storing = this.#storeNew(key, text, result).finally(() => this.#storing.delete(storing));
    this.#storing.add(storing);
    return key;
  }

  /** Resolves when all that was enqueued before is stored. */
  async stored() {
    await Promise.all(this.#storing);
  }

  /**
   * @returns {Promise<OutboxEntry[]>} All messages that are known, oldest first. Those that were
   *   sent or failed are known until their time is over.
   */
  async list() {
    const records = await this.#store.all(this.url);
    return records.map((record) => ({ ...itemOf(record), text: record.body?.text ?? null }));
  }

  /** @returns {Promise<Record<OutboxState, number>>} */
  async counts() {
    const counts = { queued: 0, sent: 0, failed: 0 };
    for (const { state } of await this.#store.all(this.url)) counts[state] += 1;
    return counts;
  }

  /** Sends what waits without waiting for the time of the next attempt; resolves when that was tried. */
  async flush() {
    await this.#hasten(() => true);
  }

  /**
   * Queues messages again that failed and still have their text.
   *
   * @param {string} [key] Only this one. Without it, those stay that were taken back when escalation was turned off.
   * @throws {IntentError} `unavailable` where it was turned off here: that takes an outbox that is opened later.
   */
  async retry(key) {
    if (this.#withdrawing) throw new IntentError('unavailable', 'escalation was turned off: open the outbox again');
    const isMeant = (/** @type {OutboxRecord} */ record) => (key === undefined ? !isWithdrawn(record) : record.key === key);
    const canBe = (/** @type {OutboxRecord} */ record) => record.state === 'failed' && record.body !== null && isMeant(record);
    for (const item of (await this.#store.all(this.url)).filter(canBe)) {
      await this.#change(item.key, (record) => (canBe(record) ? { ...record, state: 'queued', nextMs: 0, error: null } : record));
    }
    this.#pump();
  }

  /** Forgets all messages; what was not sent yet never will be. */
  async clear() {
    await this.stored();
    const records = await this.#store.all(this.url);
    await this.#store.remove(records.map(({ key }) => key));
  }

  /**
   * Sends nothing from here any more, also not what is under way: that waits for another outbox of the address. Texts
   * are still erased in time.
   */
  stopSending() {
    this.#stop.abort();
  }

  /**
   * Stops sending, and takes back what waits for the address: no page of the origin sends it any more, until
   * {@link retry} of another outbox queues it again by its key. Resolves when all pages can know.
   */
  async withdraw() {
    this.stopSending();
    this.#withdrawing ??= this.#takeBack();
    await this.#withdrawing;
  }

  async #takeBack() {
    await Promise.allSettled(this.#storing);
    for (const { key, state } of await this.#store.all(this.url)) {
      if (state === 'queued') await this.#change(key, (record) => (record.state === 'queued' ? withdrawn(record) : record));
    }
  }

  /** Ends all activity. Messages that wait, also those still to be stored, are sent when an outbox is opened again. */
  close() {
    this.stopSending();
    this.#closed = true;
    this.#erasing.abort();
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.('online', this.#onOnline);
    void this.#finish();
  }

  /** Not before what was handed over is stored, and what is being taken back is. */
  async #finish() {
    await Promise.allSettled([...this.#storing, this.#pumping, this.#withdrawing]);
    this.#store.close();
    this.#channel?.close();
    this.#channel = null;
  }

  #onOnline = () => {
    // What a server asked to wait for it still waits for.
    if (!this.#stop.signal.aborted) void this.#hasten(isUnanswered).catch(() => undefined);
  };

  /** @param {(record: OutboxRecord) => boolean} which Of those that wait. */
  async #hasten(which) {
    await this.stored();
    const isMeant = (/** @type {OutboxRecord} */ record) => record.state === 'queued' && which(record);
    for (const { key } of (await this.#store.all(this.url)).filter(isMeant)) {
      await this.#store.update(key, (record) => (isMeant(record) ? { ...record, nextMs: 0, pausedUntilMs: 0 } : record));
    }
    // The one under way may have looked before.
    await this.#pumping;
    await this.#pump();
  }

  /**
   * @param {string} key
   * @param {string} text
   * @param {ClassifyResult} result
   */
  async #storeNew(key, text, result) {
    // Two of the same millisecond would be sent in any order.
    const createdMs = (this.#lastMs = Math.max(Date.now(), this.#lastMs + 1));
    const { url, redact, maxAgeMs } = this.#settings;
    const body = await bodyOf(text, result, createdMs, redact);
    const { intent, reason, redactions } = body;
    const times = { createdMs, expiresMs: createdMs + maxAgeMs, nextMs: 0, pausedUntilMs: 0 };
    /** @type {OutboxRecord} */
    const record = { key, url, state: 'queued', intent, reason, redactions, attempts: 0, bytes: 0, ...times, id: null, error: null, body };
    // Turned off while it was redacted: another page must not find it waiting.
    this.#tell(await this.#store.add(this.#withdrawing ? withdrawn(record) : record, MAX_QUEUED));
    this.#pump();
  }

  /** @returns {Promise<void>} Settles when nothing more can be sent now; never rejects. */
  #pump() {
    this.#pumpAgain = true;
    this.#pumping ??= this.#pumpAll().finally(() => {
      this.#pumping = null;
      // Asked for after the last look.
      if (this.#pumpAgain && !this.#closed) this.#pump();
    });
    return this.#pumping;
  }

  async #pumpAll() {
    while (this.#pumpAgain && !this.#closed) {
      this.#pumpAgain = false;
      try {
        await this.#expire();
        if (!this.#stop.signal.aborted) await withLock(`${CHANNEL} ${this.url}`, this.#stop.signal, () => this.#sendDue());
        await this.#setTimer();
      } catch {
        // The database is gone for the moment.
        this.#wakeIn(MAX_TIMER_MS / 60);
      }
    }
  }

  /** One after the other, oldest first, as long as anything is due. */
  async #sendDue() {
    for (;;) {
      const now = Date.now();
      const queued = (await this.#store.all(this.url)).filter(({ state }) => state === 'queued');
      if (queued.some(({ pausedUntilMs }) => isAhead(pausedUntilMs, now))) return;
      const due = queued.find(({ nextMs }) => !isAhead(nextMs, now));
      if (!due || this.#stop.signal.aborted) return;
      const outcome = await this.#send(due);
      // Stopped altogether, or only this one was taken back.
      if (outcome.kind === 'stopped') continue;
      await this.#change(due.key, (record) => after(record, outcome));
    }
  }

  /** @param {OutboxRecord} record */
  async #send(record) {
    const end = new AbortController();
    this.#sending = { key: record.key, end };
    try {
      return await send(record, this.#settings.token, eitherOf(this.#stop.signal, end.signal));
    } finally {
      this.#sending = null;
      // Takes its listeners along.
      end.abort();
    }
  }

  /** Erases what has waited too long, and forgets what was done with long ago. */
  async #expire() {
    const now = Date.now();
    const over = (await this.#store.all(this.url)).filter(({ expiresMs }) => expiresMs <= now);
    const done = over.filter((record) => expired(record, now) === null);
    if (done.length > 0) await this.#store.remove(done.map(({ key }) => key));
    for (const { key } of over.filter(({ state }) => state === 'queued')) {
      await this.#change(key, (record) => expired(record, now) ?? record);
    }
  }

  async #setTimer() {
    const now = Date.now();
    const records = await this.#store.all(this.url);
    const queued = this.#stop.signal.aborted ? [] : records.filter(({ state }) => state === 'queued');
    const ahead = (/** @type {number} */ ms) => (isAhead(ms, now) ? ms : now);
    // While one is paused all are.
    const pausedUntilMs = queued.reduce((latest, record) => Math.max(latest, ahead(record.pausedUntilMs)), now);
    let at = now + MAX_TIMER_MS;
    for (const { expiresMs } of records) at = Math.min(at, expiresMs);
    for (const { nextMs } of queued) at = Math.min(at, Math.max(ahead(nextMs), pausedUntilMs));
    this.#wakeIn(Math.max(at - now, 0));
  }

  /** @param {number} ms */
  #wakeIn(ms) {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => this.#pump(), ms);
  }

  /**
   * @param {string} key
   * @param {(record: OutboxRecord) => OutboxRecord} change
   */
  async #change(key, change) {
    /** @type {OutboxState | undefined} */
    let before;
    const changed = await this.#store.update(key, (record) => {
      before = record.state;
      return change(record);
    });
    if (changed && changed.state !== before) this.#tell(changed);
  }

  /** @param {OutboxRecord} record */
  #tell(record) {
    // Nobody here sends it.
    const left = this.#stop.signal.aborted && !this.#withdrawing;
    this.#channel?.postMessage({ url: record.url, key: record.key, left });
    if (!this.#closed) this.#emit(record);
  }

  /** @param {OutboxRecord} record */
  #emit(record) {
    this.dispatchEvent(new CustomEvent(record.state, { detail: itemOf(record) }));
  }

  /** @param {unknown} data Which message another page changed. */
  async #onOther(data) {
    const { url, key, left } = /** @type {{ url?: unknown, key?: unknown, left?: unknown }} */ (data ?? {});
    if (url !== this.url || typeof key !== 'string' || this.#closed) return;
    const record = await this.#store.get(key).catch(() => undefined);
    if (record?.state === 'failed' && this.#sending?.key === key) this.#sending.end.abort();
    if (!record || this.#closed) return;
    this.#emit(record);
    if (left === true && record.state === 'queued') this.#pump();
  }
}

/**
 * @param {OutboxRecord} record
 * @param {Exclude<import('./send.js').Outcome, { kind: 'stopped' }>} outcome
 * @returns {OutboxRecord}
 */
function after(record, outcome) {
  // Kept before there were counts of bytes, it has none.
  const done = { ...record, attempts: record.attempts + 1, bytes: (record.bytes ?? 0) + outcome.bytes };
  switch (outcome.kind) {
    case 'sent':
      return { ...done, state: 'sent', id: outcome.id, error: null, body: null, pausedUntilMs: 0 };
    case 'failed':
      return { ...done, state: 'failed', error: outcome.error, pausedUntilMs: 0 };
    case 'retry': {
      // Taken back meanwhile by another page.
      if (record.state !== 'queued') return { ...done, error: record.error };
      const nextMs = Date.now() + outcome.waitMs;
      return { ...done, error: outcome.error, nextMs, pausedUntilMs: outcome.pause ? nextMs : 0 };
    }
  }
}

/**
 * As escalation that is turned off leaves a message: its text stays until its time is over.
 *
 * @param {OutboxRecord} record
 * @returns {OutboxRecord}
 */
function withdrawn(record) {
  return { ...record, state: 'failed', error: { code: 'off', status: null } };
}

/** @param {OutboxRecord} record */
function isWithdrawn({ error }) {
  return error?.code === 'off' && error.status === null;
}

/** Whether no server has answered the last attempt, for want of a network or of a token. @param {OutboxRecord} record */
function isUnanswered({ error }) {
  return error !== null && error.status === null;
}

/** @param {OutboxRecord} record @returns {OutboxItem} */
function itemOf({ key, state, intent, reason, redactions, attempts, bytes, createdMs, nextMs, id, error }) {
  const next = state === 'queued' ? nextMs : null;
  return { key, state, intent, reason, redactions, attempts, bytes: bytes ?? 0, createdMs, nextMs: next, id, error };
}

/**
 * Further ahead than any wait means that the clock was set back.
 *
 * @param {number} ms
 * @param {number} now
 */
function isAhead(ms, now) {
  return ms > now && ms <= now + MAX_RETRY_AFTER_MS;
}

/**
 * One page at a time. Without locks two may send the same message, which the server stores once.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} body
 */
async function withLock(name, signal, body) {
  const locks = globalThis.navigator?.locks;
  if (!locks) return body();
  try {
    await locks.request(name, { signal }, body);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** @returns {string} A random UUID. */
function newKey() {
  // Only there in secure contexts.
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
