/** The inbox of the server: its newest messages, and what happens to it from then on. */

import { EventParser } from './sse.js';

/** Where it is. */
export const INBOX = '/api/escalations';

/** How long to wait before connecting again, in milliseconds. */
const RETRY_MS = 2_000;

/** How long nothing may be heard, in milliseconds: the server says something every 15 seconds. */
const SILENCE_MS = 40_000;

/**
 * @typedef {object} Item
 * @property {number} id
 * @property {number} received_ms
 * @property {string} text
 * @property {string} intent
 * @property {string} reason
 * @property {number | null} confidence
 * @property {Record<string, number> | null} probabilities
 * @property {string[]} redactions
 * @property {number | null} handled_ms
 * @property {string | null} corrected_intent
 */

/** @typedef {{ items: Item[], next: number | null, labels: string[] }} Page With the labels that agents may give. */

/** @typedef {'off' | 'connecting' | 'live' | 'token' | 'refused' | 'absent'} State */

/**
 * @typedef {object} Events
 * @property {(state: State) => void} onState
 * @property {(page: Page) => void} onPage The newest messages: what was shown before may be out of date.
 * @property {(item: Item) => void} onItem A new or a changed message.
 */

/** What the server says instead of what was asked for. */
class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code Stable, of the server; `http` and the status where something else answered.
   * @param {string} message For people.
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * @param {unknown} error
 * @returns {State | null} What a refusal means that waiting does not mend; nothing of others.
 */
function lastingState(error) {
  if (!(error instanceof Refused)) return null;
  if (error.status === 401) return 'token';
  if (error.status === 403) return 'refused';
  return error.status === 404 || error.status === 405 ? 'absent' : null;
}

/**
 * @param {Response} response
 * @returns {Promise<Refused>}
 */
async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  const said = typeof error?.code === 'string' && typeof error.message === 'string';
  return said ? new Refused(response.status, error.code, error.message) : new Refused(response.status, `http_${response.status}`, 'the server refuses');
}

/**
 * @param {Response} response
 * @returns {Promise<Page>}
 */
async function pageOf(response) {
  const page = await response.json().catch(() => null);
  // A host of files may answer every address with a page.
  if (!Array.isArray(page?.items)) throw new Refused(404, 'absent', 'the host of this page has no inbox');
  return { labels: [], ...page };
}

export class InboxConnection {
  #events;
  #token = '';
  /** @type {AbortController | null} */
  #open = null;
  /** Whether there has been an inbox since the page opened. */
  #wasLive = false;

  /** @param {Events} events */
  constructor(events) {
    this.#events = events;
  }

  /** What the server asks for, or nothing. */
  get token() {
    return this.#token;
  }

  /** @param {string} token */
  set token(token) {
    this.#token = token;
  }

  /** Connects, and again whenever the connection breaks. */
  connect() {
    this.disconnect();
    this.#open = new AbortController();
    void this.#run(this.#open.signal);
  }

  /** Ends the connection: no request is made from now on. */
  disconnect() {
    this.#open?.abort();
    this.#open = null;
    this.#events.onState('off');
  }

  /**
   * @param {number} before
   * @returns {Promise<Page>} The messages older than that.
   * @throws With a code and a message for people, like the next two.
   */
  older(before) {
    return this.#asked(`?before=${before}`, {}, pageOf);
  }

  /**
   * @param {number} id
   * @param {{ handled?: boolean, corrected_intent?: string | null }} change
   */
  async change(id, change) {
    const init = { method: 'PATCH', body: JSON.stringify(change), headers: { 'content-type': 'application/json' } };
    this.#events.onItem(await this.#asked(`/${id}`, init, (response) => response.json()));
  }

  /** @returns {Promise<Blob>} Agents' corrections, as lines of the dataset. */
  corrections() {
    return this.#asked('/export', {}, (response) => response.blob());
  }

  /**
   * What somebody asked for, who is told why it fails.
   *
   * @template T
   * @param {string} path
   * @param {RequestInit} init
   * @param {(response: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async #asked(path, init, read) {
    try {
      return await read(await this.#fetch(path, init));
    } catch (error) {
      if (this.#open && lastingState(error) === 'token') this.#events.onState('token');
      throw error instanceof Refused ? error : new Refused(0, 'network', 'the server can’t be reached, or its answer broke off');
    }
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    this.#events.onState('connecting');
    while (!signal.aborted) {
      try {
        const page = await pageOf(await this.#fetch('', { signal }));
        this.#events.onPage(page);
        await this.#follow(page.items[0]?.id ?? 0, signal);
      } catch (error) {
        if (signal.aborted) return;
        const state = lastingState(error);
        // Something on the way answers in place of an inbox that was there, as a server does that starts again.
        const isPassing = this.#wasLive && state !== 'token';
        if (state && !isPassing) return this.#events.onState(state);
      }
      if (!signal.aborted) this.#events.onState('connecting');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /**
   * Reads the stream until it ends.
   *
   * @param {number} after
   * @param {AbortSignal} signal
   */
  async #follow(after, signal) {
    const response = await this.#fetch(`/stream?after=${after}`, { signal });
    const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    // A network that is gone says so to nobody.
    const giveUp = () => void reader.cancel().catch(() => undefined);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    addEventListener('offline', giveUp);
    try {
      this.#wasLive = true;
      this.#events.onState('live');
      for (;;) {
        timer = setTimeout(giveUp, SILENCE_MS);
        const { done, value } = await reader.read();
        clearTimeout(timer);
        if (done) return;
        for (const { type, data } of parser.push(value)) {
          // What was missed is not known: from the beginning again.
          if (type === 'reset') return;
          this.#events.onItem(JSON.parse(data));
        }
      }
    } finally {
      clearTimeout(timer);
      removeEventListener('offline', giveUp);
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  async #fetch(path, init) {
    const headers = new Headers(init.headers);
    if (this.#token !== '') headers.set('authorization', `Bearer ${this.#token}`);
    const response = await fetch(INBOX + path, { ...init, headers, cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    return response;
  }
}
