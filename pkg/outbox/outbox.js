/**
 * Escalated messages on their way to a person. Each is redacted, then stored, then sent until the
 * server acknowledges it under its UUID; then its text is erased.
 *
 * @module
 */

import { bodyOf } from './body.js';
import { checkEscalation } from './options.js';
import { after, hastened, isUnanswered, isWithdrawn, itemOf, withdrawn } from './records.js';
import { Refusals } from './refusals.js';
import { eitherOf, send } from './send.js';
import { openStore } from './store.js';
import { CHANNEL, eraseInTime, takeBack } from './unattended.js';
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
 * `failed` are `CustomEvent`s whose `detail` is an {@link OutboxItem}; `cleared` says that all were forgotten. They tell of
 * other pages too.
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
  /** Settles when another one has taken over and this one is closed. @type {Promise<void> | null} */
  #retiring = null;
  /** @type {() => void} */
  #tellClosed = () => undefined;
  #closed = false;
  #erasing = new AbortController();
  /** What is under way. @type {{ key: string, end: AbortController } | null} */
  #sending = null;
  #refusals = new Refusals();
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

  /**
   * Takes back what waits for an address, as {@link withdraw} of its outbox does, without opening that: nothing is sent
   * meanwhile. Resolves when all pages can know.
   *
   * @param {string | URL} url
   * @returns {Promise<void>}
   * @throws {IntentError} `invalid_argument`
   */
  static async withdraw(url) {
    const settings = checkEscalation({ url });
    if (settings) await takeBack(settings.url);
  }

  /** Whether messages outlive the page; not where the browser refuses IndexedDB, nor while the disk is full for one that waits. */
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
    this.#requireOpen();
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
   *   sent or failed are known until their time is over, of those that were sent the latest 200.
   * @throws {IntentError} `disposed` after {@link close}
   */
  async list() {
    this.#requireOpen();
    const records = await this.#store.all(this.url);
    return records.map((record) => ({ ...itemOf(record), text: record.body?.text ?? null }));
  }

  /**
   * @returns {Promise<Record<OutboxState, number>>} How many {@link list} gives of each.
   * @throws {IntentError} `disposed` after {@link close}
   */
  async counts() {
    this.#requireOpen();
    return this.#store.counts(this.url);
  }

  /**
   * Sends what waits without waiting for the time of the next attempt; resolves when that was tried.
   *
   * @throws {IntentError} `disposed` after {@link close}, `unavailable` after {@link stopSending} and {@link withdraw}
   */
  async flush() {
    this.#requireSending();
    await this.#hasten(() => true);
  }

  /**
   * Queues messages again that failed and still have their text.
   *
   * @param {string} [key] Only this one. Without it, those stay that were taken back when escalation was turned off.
   * @throws {IntentError} `disposed` after {@link close}, `unavailable` where it was turned off or stopped here: that takes
   *   an outbox that is opened later.
   */
  async retry(key) {
    this.#requireSending();
    const isMeant = (/** @type {OutboxRecord} */ record) => (key === undefined ? !isWithdrawn(record) : record.key === key);
    const canBe = (/** @type {OutboxRecord} */ record) => record.body !== null && isMeant(record);
    const again = (/** @type {OutboxRecord} */ record) => /** @type {OutboxRecord} */ ({ ...record, state: 'queued', nextMs: 0, error: null });
    for (const record of await this.#store.updateAll(this.url, 'failed', (record) => (canBe(record) ? again(record) : record))) this.#tell(record);
    this.#pump();
  }

  /**
   * Forgets all messages, also in other pages; what was not sent yet never will be, and what is under way is ended.
   *
   * @throws {IntentError} `disposed` after {@link close}
   */
  async clear() {
    this.#requireOpen();
    await this.stored();
    await this.#store.clear(this.url);
    this.#sending?.end.abort();
    this.#channel?.postMessage({ url: this.url, cleared: true });
    if (!this.#closed) this.dispatchEvent(new Event('cleared'));
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
    for (const record of await this.#store.updateAll(this.url, 'queued', withdrawn)) this.#tell(record);
  }

  /**
   * Leaves what waits to the next outbox, and sends only what no other can: what waits in memory. Closes when there is no
   * more of that.
   *
   * @returns {Promise<void>} Settles when it is closed.
   */
  retire() {
    if (!this.#retiring && !this.#closed) {
      this.#retiring = new Promise((resolve) => (this.#tellClosed = resolve));
      this.#sending?.end.abort();
      void this.stored().catch(() => undefined).then(() => this.#pump());
    }
    return this.#retiring ?? Promise.resolve();
  }

  /** Ends all activity. Messages that wait, also those still to be stored, are sent when an outbox is opened again. */
  close() {
    this.stopSending();
    this.#closed = true;
    this.#erasing.abort();
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.('online', this.#onOnline);
    this.#tellClosed();
    void this.#finish();
  }

  #requireOpen() {
    if (this.#closed) throw new IntentError('disposed', 'the outbox was closed');
  }

  #requireSending() {
    this.#requireOpen();
    if (this.#stop.signal.aborted) throw new IntentError('unavailable', 'nothing is sent from here any more: open the outbox again');
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
    await this.#store.updateAll(this.url, 'queued', (record) => (which(record) ? hastened(record) : record));
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
        const nextMs = await this.#expire();
        const sends = !this.#stop.signal.aborted && (this.#retiring === null || this.#store.holds);
        const wakeMs = sends ? await withLock(`${CHANNEL} ${this.url}`, this.#stop.signal, () => this.#sendDue()) : Infinity;
        if (this.#retiring && this.#storing.size === 0 && !this.#store.holds) this.close();
        this.#wakeIn(Math.min(nextMs, wakeMs ?? Infinity) - Date.now());
      } catch {
        // The database is gone for the moment.
        this.#wakeIn(MAX_TIMER_MS / 60);
      }
    }
  }

  /**
   * One after the other, as long as anything is due.
   *
   * @returns {Promise<number>} When something may be due again.
   */
  async #sendDue() {
    for (;;) {
      const retiring = this.#retiring;
      const { due, wakeMs } = await this.#store.next(this.url, Date.now(), retiring !== null);
      if (retiring !== this.#retiring) continue;
      if (!due || this.#stop.signal.aborted) return wakeMs;
      const outcome = await this.#send(due);
      // Stopped altogether, or only this one was taken back.
      if (outcome.kind === 'stopped') continue;
      if (outcome.kind === 'sent') this.#refusals.sent();
      const pause = outcome.kind === 'retry' && this.#refusals.pauses(due, outcome);
      await this.#change(due.key, (record) => after(record, outcome, pause));
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

  /** @returns {Promise<number>} When something expires again, after what has waited too long was erased. */
  async #expire() {
    const { failed, nextMs } = await this.#store.expire(Date.now());
    for (const record of failed) this.#tell(record);
    return nextMs;
  }

  /** @param {number} ms */
  #wakeIn(ms) {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => this.#pump(), Math.min(Math.max(ms, 0), MAX_TIMER_MS));
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
    const left = this.#retiring !== null || (this.#stop.signal.aborted && !this.#withdrawing);
    this.#channel?.postMessage({ url: record.url, key: record.key, left });
    if (!this.#closed && record.url === this.url) this.#emit(record);
  }

  /** @param {OutboxRecord} record */
  #emit(record) {
    this.dispatchEvent(new CustomEvent(record.state, { detail: itemOf(record) }));
  }

  /** @param {unknown} data Which message another page changed, or that all were forgotten. */
  async #onOther(data) {
    const { url, key, left, cleared } = /** @type {{ url?: unknown, key?: unknown, left?: unknown, cleared?: unknown }} */ (data ?? {});
    if (url !== this.url || this.#closed) return;
    if (cleared === true) this.dispatchEvent(new Event('cleared'));
    const changed = cleared === true ? this.#sending?.key : key;
    if (typeof changed !== 'string') return;
    const record = await this.#store.get(changed).catch(() => null);
    if (record === null) return;
    if (record?.state !== 'queued' && this.#sending?.key === changed) this.#sending.end.abort();
    if (cleared === true || !record || this.#closed) return;
    this.#emit(record);
    if (left === true && record.state === 'queued') this.#pump();
  }
}

/**
 * One page at a time. Without locks two may send the same message, which the server stores once.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 * @template T
 * @param {() => Promise<T>} body
 * @returns {Promise<T | undefined>} `undefined` where it was aborted.
 */
async function withLock(name, signal, body) {
  const locks = globalThis.navigator?.locks;
  if (!locks) return body();
  try {
    return await locks.request(name, { signal }, body);
  } catch (error) {
    if (!signal.aborted) throw error;
    return undefined;
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
