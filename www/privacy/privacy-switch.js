/** The switch that keeps everything in this tab, the count that shows it, and what waits to be sent. */

import { Outbox } from '/pkg/index.js';
import { element } from '../ui/dom.js';
import { bytes, whole } from '../ui/format.js';
import { INBOX } from '../inbox/connection.js';
import { RequestWatch } from './request-watch.js';

/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */
/** @typedef {import('/pkg/index.js').OutboxItem} OutboxItem */
/** @typedef {import('../inbox/inbox-view.js').InboxView} InboxView */

/** Where the choice is remembered: who turned the switch on wants it on next time. */
const KEY = 'relayops-private';

/** Longest that a model waits to know whether there is an inbox, in milliseconds; then it is taken to be there. */
const KNOWN_MS = 2_000;

const NOTES = {
  on: 'The model goes on answering. What escalates is shown here, and sent to nobody.',
  off: 'What escalates is redacted and sent to the server’s inbox. Everything else stays in this tab.',
  absent: 'The model runs in this tab. The host of this page has no inbox, so nothing is sent.',
};

export class PrivacySwitch {
  #switch = element('private', HTMLInputElement);
  #box = element('privacy-box', HTMLElement);
  #watch = new RequestWatch((paths) => this.#showRequests(paths));
  #inbox;
  #onDelivery;
  /** When counting began, in words. */
  #since = '';
  #absent = false;
  #token = '';
  /** Whether messages may wait that a server refused for want of the token. */
  #isTokenNew = false;
  /** @type {() => void} */
  #tellKnown = () => undefined;
  /** Settles when it is known whether there is an inbox. @type {Promise<void>} */
  #known = new Promise((resolve) => (this.#tellKnown = resolve));
  /** Settles when what was left behind is taken back. @type {Promise<void>} */
  #withdrawn = Promise.resolve();
  /** @type {IntentClassifier | null} */
  #classifier = null;

  /**
   * @param {InboxView} inbox
   * @param {(item: OutboxItem) => void} onDelivery What became of an escalated message.
   */
  constructor(inbox, onDelivery) {
    this.#inbox = inbox;
    this.#onDelivery = onDelivery;
    this.#switch.checked = remembered() === 'on';
    this.#switch.addEventListener('change', () => {
      remember(this.#switch.checked ? 'on' : 'off');
      this.#changed();
    });
    // One choice for all tabs.
    window.addEventListener('storage', ({ key, newValue }) => {
      if (key !== KEY || (newValue === 'on') === this.#switch.checked) return;
      this.#switch.checked = newValue === 'on';
      this.#changed();
    });
    this.#connect('the page opened');
  }

  /**
   * @param {IntentClassifier | null} classifier
   * @returns {Promise<boolean>} Settles when the classifier knows what it may send; whether it is still the one in use.
   */
  async use(classifier) {
    this.#classifier = classifier;
    // What a page asks for to begin with is no message's doing.
    if (classifier && this.#switch.checked) this.#count('the model was ready');
    if (classifier && !this.#switch.checked) await Promise.race([this.#known, new Promise((resolve) => setTimeout(resolve, KNOWN_MS))]);
    await this.#apply();
    return this.#classifier === classifier;
  }

  /** @param {number} count Bytes of model files that Workers have fetched for this page, which its own record does not have. */
  fetched(count) {
    const box = element('fetched', HTMLElement);
    box.textContent = bytes(count);
    box.dataset.bytes = String(count);
  }

  /** @param {import('../inbox/connection.js').State} state Of the connection to the inbox. */
  inboxIs(state) {
    if (state !== 'off' && state !== 'connecting') this.#tellKnown();
    if (state !== 'live' && state !== 'absent') return;
    const [absent, token] = [state === 'absent', this.#inbox.token];
    if (absent === this.#absent && token === this.#token) return;
    this.#isTokenNew ||= token !== this.#token;
    [this.#absent, this.#token] = [absent, token];
    void this.#apply();
  }

  #changed() {
    this.#connect('the switch was turned on');
    // Also what a model that is not loaded any more left behind.
    if (this.#switch.checked) this.#withdrawn = Outbox.withdraw(INBOX).catch(() => undefined);
    void this.#apply();
  }

  /** @param {string} since When counting begins, in words. */
  #count(since) {
    this.#since = since;
    this.#watch.start();
  }

  /** @param {string} since When that is, in words. */
  #connect(since) {
    if (this.#switch.checked) {
      this.#inbox.disconnect();
      this.#count(since);
    } else {
      this.#watch.stop();
      this.#inbox.connect();
    }
  }

  async #apply() {
    const on = this.#switch.checked;
    this.#box.classList.toggle('is-on', on);
    element('privacy-note', HTMLElement).textContent = NOTES[on ? 'on' : this.#absent ? 'absent' : 'off'];
    element('privacy-count', HTMLElement).hidden = !on;
    const classifier = this.#classifier;
    if (!classifier) return;
    const token = this.#token === '' ? undefined : this.#token;
    if (!on) {
      // Or it would take back what escalates from now on.
      await this.#withdrawn;
      if (this.#switch.checked || classifier !== this.#classifier) return;
    }
    await classifier.setEscalation(on || this.#absent ? 'off' : { url: INBOX, token }).catch(() => undefined);
    this.#follow(classifier);
    if (!this.#isTokenNew || !classifier.outbox) return;
    this.#isTokenNew = false;
    void classifier.outbox.flush().catch(() => undefined);
  }

  /** @param {IntentClassifier} classifier */
  #follow(classifier) {
    const { outbox } = classifier;
    const line = element('outbox', HTMLElement);
    line.textContent = '';
    if (!outbox) return;
    const show = async () => {
      // Closed meanwhile, or its database gone for the moment, it has none to tell.
      const counts = await outbox.counts().catch(() => null);
      if (!counts) return;
      const { queued, sent, failed } = counts;
      if (outbox === this.#classifier?.outbox) line.textContent = `${queued} queued, ${sent} sent, ${failed} failed`;
    };
    for (const state of ['queued', 'sent', 'failed']) {
      outbox.addEventListener(state, (event) => {
        this.#onDelivery(/** @type {CustomEvent<OutboxItem>} */ (event).detail);
        void show();
      });
    }
    void show();
  }

  /** @param {string[]} paths */
  #showRequests(paths) {
    element('request-count', HTMLElement).textContent = whole(paths.length);
    element('request-words', HTMLElement).textContent = `${paths.length === 1 ? 'request' : 'requests'} of this page since ${this.#since}.`;
    // Which ones they were, so that nobody has to take our word for what they carried.
    element('request-paths', HTMLElement).textContent = paths.length === 0 ? '' : `The latest: ${paths.slice(-3).join(', ')}`;
  }
}

/** @returns {string | null} */
function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string} value */
function remember(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Forbidden: the choice holds for this visit.
  }
}
