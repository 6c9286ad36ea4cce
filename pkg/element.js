/**
 * `<relayops-intent for="message">`: says beside an input what the customer wants, while they type.
 *
 *     import 'relayops-intent/element';
 *
 * Importing this defines the element. On a server it defines nothing and is harmless.
 *
 * @module
 */

import { IntentClassifier } from './client/classifier.js';
import { IntentError, describe } from './errors.js';
import { ElementView } from './element/view.js';

/** @typedef {import('./api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('./api.js').ProvisionalResult} ProvisionalResult */
/** @typedef {HTMLInputElement | HTMLTextAreaElement} TextField */

/**
 * What an `intent` event carries in `detail`.
 *
 * @typedef {object} IntentDetail
 * @property {string} text The message that was read.
 * @property {ClassifyResult | ProvisionalResult} result
 * @property {boolean} provisional Whether the message is still being typed.
 */

/** A server has no elements; there the class is never made into one. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Attributes: `for`, the id of an input or textarea; `pack`, the address of a model other than the
 * package's own; `load="eager"`, to load it before anybody types.
 */
export class RelayopsIntentElement extends Base {
  static observedAttributes = ['for'];

  /** @type {ElementView | null} */
  #view = null;
  /** @type {TextField | null} */
  #field = null;
  /** Ends the listening to the field. @type {AbortController | null} */
  #listening = null;
  /** Given by the page, which disposes of it. @type {IntentClassifier | null} */
  #given = null;
  /** Loaded by this element, which disposes of it. @type {{ loading: Promise<IntentClassifier>, abort: AbortController, failed: boolean } | null} */
  #own = null;
  /** @type {{ of: IntentClassifier, session: import('./client/session.js').Session } | null} */
  #typing = null;
  /** Counts what was asked, so that late answers are known. */
  #asked = 0;
  /** Messages that were sent and are not answered yet. */
  #sending = 0;

  /**
   * The classifier to use; set it to share one. Without one the element loads its own when somebody
   * comes to the field.
   *
   * @returns {IntentClassifier | null}
   */
  get classifier() {
    return this.#given;
  }

  set classifier(classifier) {
    this.#given = classifier;
    this.#endOwn();
    if (this.#field?.value) void this.#read(this.#field.value, false);
  }

  connectedCallback() {
    this.#view ??= new ElementView(this);
    this.#listen();
  }

  disconnectedCallback() {
    this.#listening?.abort();
    this.#listening = null;
    this.#field = null;
    this.#view?.quiet();
    // A move within the page disconnects and connects again at once.
    queueMicrotask(() => {
      if (!this.isConnected) this.#endOwn();
    });
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#listen();
  }

  /**
   * Reads the message as sent, as the form's `submit` event does.
   *
   * @returns {Promise<ClassifyResult | null>} Nothing where there was nothing to read, or it failed.
   */
  async submit() {
    return this.#read(this.#field?.value ?? '', true);
  }

  #listen() {
    this.#listening?.abort();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const field = this.#find();
    this.#field = field;
    if (!field) {
      // Frameworks put elements into the page in any order.
      const observer = new MutationObserver(() => this.#find() && this.#listen());
      observer.observe(this.ownerDocument, { childList: true, subtree: true, attributes: true, attributeFilter: ['id'] });
      signal.addEventListener('abort', () => observer.disconnect());
      return;
    }
    field.addEventListener('input', () => void this.#read(field.value, false), { signal });
    field.addEventListener('focus', () => this.#prepare(), { signal });
    // Not taken from whoever handles it: only listened to.
    field.form?.addEventListener('submit', () => void this.submit(), { signal });
    field.form?.addEventListener('reset', () => this.#clear(), { signal });
    if (field.value) void this.#read(field.value, false);
    else if (this.getAttribute('load') === 'eager' || this.ownerDocument.activeElement === field) this.#prepare();
  }

  /** Loads, also after a failure: somebody comes anew. */
  #prepare() {
    if (this.#own?.failed) this.#own = null;
    // A failure is told where it is loaded.
    this.#classifier().catch(() => {});
  }

  /** @returns {TextField | null} */
  #find() {
    const id = this.getAttribute('for');
    const root = /** @type {Document | ShadowRoot} */ (this.getRootNode());
    const found = id ? root.getElementById?.(id) : null;
    return found instanceof HTMLInputElement || found instanceof HTMLTextAreaElement ? found : null;
  }

  /** @returns {Promise<IntentClassifier>} */
  async #classifier() {
    if (this.#given) return this.#given;
    if (!this.#own) {
      const pack = this.getAttribute('pack');
      const abort = new AbortController();
      const loading = IntentClassifier.load({ ...(pack !== null && { pack }), signal: abort.signal });
      const own = { loading, abort, failed: false };
      this.#own = own;
      this.#view?.loading();
      loading.then(
        () => this.#view?.ready(),
        (error) => {
          own.failed = true;
          this.#failed(error, abort.signal);
        },
      );
    }
    return this.#own.loading;
  }

  /**
   * @param {string} text
   * @param {boolean} sent
   * @returns {Promise<ClassifyResult | null>}
   */
  async #read(text, sent) {
    const asked = (this.#asked += 1);
    if (text.trim() === '') {
      this.#clear();
      return null;
    }
    this.#sending += sent ? 1 : 0;
    /** @type {import('./client/session.js').Session | null} */
    let session = null;
    try {
      session = this.#sessionOf(await this.#classifier());
      // Others came while the model was loading.
      if (asked !== this.#asked && !sent) return null;
      const result = await (sent ? session.submit(text) : session.update(text));
      // The field was cleared meanwhile.
      if (asked !== this.#asked && !sent) return null;
      this.#show({ text, result, provisional: !sent }, asked === this.#asked);
      return result;
    } catch (error) {
      this.#notRead(error, session);
      return null;
    } finally {
      this.#sending -= sent ? 1 : 0;
    }
  }

  /**
   * @param {unknown} error
   * @param {import('./client/session.js').Session | null} session Nothing where the model could not be loaded: whoever loads
   *   tells of that, once.
   */
  #notRead(error, session) {
    // Of a session that has ended, the end was told.
    if (!session || session !== this.#typing?.session) return;
    // The next message finds a new one.
    if (!this.#given && error instanceof IntentError && error.code === 'worker_failed') this.#endOwn();
    this.#failed(error);
  }

  /** @param {IntentClassifier} classifier */
  #sessionOf(classifier) {
    if (this.#typing?.of !== classifier) {
      this.#typing?.session.close();
      this.#typing = { of: classifier, session: classifier.session() };
    }
    return this.#typing.session;
  }

  /**
   * @param {IntentDetail} detail
   * @param {boolean} latest Whether nothing has been typed since.
   */
  #show(detail, latest) {
    if (latest) this.#view?.show(detail.result);
    this.dispatchEvent(new CustomEvent('intent', { detail, bubbles: true, composed: true }));
  }

  #clear() {
    this.#asked += 1;
    // An update that is under way is wanted no more, and nothing of its text is to stay; what was sent is still answered.
    if (this.#sending === 0) this.#endTyping();
    this.#view?.clear();
  }

  /**
   * @param {unknown} error
   * @param {AbortSignal} [signal] Of a load that this element gave up itself.
   */
  #failed(error, signal) {
    const code = error instanceof IntentError ? error.code : null;
    if (signal?.aborted || code === 'superseded' || code === 'disposed') return;
    this.#view?.failed(describe(error));
    this.dispatchEvent(new CustomEvent('intent-error', { detail: error, bubbles: true, composed: true }));
  }

  #endTyping() {
    this.#typing?.session.close();
    this.#typing = null;
  }

  #endOwn() {
    this.#endTyping();
    const own = this.#own;
    this.#own = null;
    own?.abort.abort();
    own?.loading.then(
      (classifier) => classifier.dispose(),
      () => {},
    );
  }
}

globalThis.customElements?.define('relayops-intent', RelayopsIntentElement);
