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

/**
 * A session and what was sent in it. `sent` settles when all of that is answered.
 *
 * @typedef {{ of: IntentClassifier, session: import('./client/session.js').Session, sent: Promise<unknown> }} Typing
 */

/** What may make another field, or another form, the one that is meant. */
const WATCHED = { childList: true, subtree: true, attributes: true, attributeFilter: ['id', 'form'] };

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
  /** @type {MutationObserver | null} */
  #observer = null;
  /** @type {TextField | null} */
  #field = null;
  /** @type {HTMLFormElement | null} */
  #form = null;
  /** Ends the listening to the field. @type {AbortController | null} */
  #listening = null;
  /** Given by the page, which disposes of it. @type {IntentClassifier | null} */
  #given = null;
  /** Loaded by this element, which disposes of it. @type {{ loading: Promise<IntentClassifier>, abort: AbortController, failed: boolean } | null} */
  #own = null;
  /** @type {Typing | null} */
  #typing = null;
  /** Counts what was asked, so that late answers are known. */
  #asked = 0;

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
    // Frameworks put elements into the page in any order, and others in their place later.
    this.#observer = new MutationObserver(() => this.#follow());
    this.#observer.observe(this.getRootNode(), WATCHED);
    this.#follow();
  }

  disconnectedCallback() {
    this.#observer?.disconnect();
    this.#observer = null;
    this.#listening?.abort();
    this.#field = null;
    this.#form = null;
    this.#view?.quiet();
    // A move within the page disconnects and connects again at once.
    queueMicrotask(() => {
      if (!this.isConnected) this.#endOwn();
    });
  }

  attributeChangedCallback() {
    if (this.#observer) this.#follow();
  }

  /**
   * Reads the message as sent, as the form's `submit` event does.
   *
   * @returns {Promise<ClassifyResult | null>} Nothing where there was nothing to read, or it failed.
   */
  async submit() {
    return this.#read(this.#field?.value ?? '', true);
  }

  /** Listens to the field that is meant now, and to its form. */
  #follow() {
    const [before, field] = [this.#field, this.#find()];
    const form = field?.form ?? null;
    if (field === before && form === this.#form) return;
    this.#field = field;
    this.#form = form;
    this.#listening?.abort();
    if (field) this.#listen(field);
    if (field === before) return;
    if (field?.value) {
      void this.#read(field.value, false);
      return;
    }
    this.#clear();
    const root = /** @type {Document | ShadowRoot} */ (this.getRootNode());
    if (field && (this.getAttribute('load') === 'eager' || root.activeElement === field)) this.#prepare();
  }

  /** @param {TextField} field */
  #listen(field) {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    field.addEventListener('input', () => void this.#read(field.value, false), { signal });
    field.addEventListener('focus', () => this.#prepare(), { signal });
    // Not taken from whoever handles it: only listened to, before they empty the field.
    this.#form?.addEventListener('submit', () => void this.submit(), { signal, capture: true });
    this.#form?.addEventListener('reset', () => this.#clear(), { signal });
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
    /** @type {Typing | null} */
    let typing = null;
    try {
      typing = this.#typingOf(await this.#classifier());
      // Others came while the model was loading.
      if (asked !== this.#asked && !sent) return null;
      const answer = sent ? submitTo(typing, text) : typing.session.update(text);
      const result = await answer;
      // The field was cleared meanwhile, or is another one.
      if (!sent && (asked !== this.#asked || typing !== this.#typing)) return null;
      this.#show({ text, result, provisional: !sent }, asked === this.#asked);
      return result;
    } catch (error) {
      this.#notRead(error, typing, sent);
      return null;
    }
  }

  /**
   * @param {unknown} error
   * @param {Typing | null} typing Nothing where the model could not be loaded: whoever loads tells of that, once.
   * @param {boolean} sent
   */
  #notRead(error, typing, sent) {
    const hasEnded = typing !== this.#typing;
    // Of a session that has ended, the end was told; of a message that was sent, what became of it always is.
    if (!typing || (hasEnded && !sent)) return;
    // The next message finds a new one.
    if (!hasEnded && !this.#given && error instanceof IntentError && error.code === 'worker_failed') this.#endOwn();
    this.#failed(error);
  }

  /** @param {IntentClassifier} classifier */
  #typingOf(classifier) {
    if (this.#typing?.of !== classifier) {
      this.#endTyping();
      this.#typing = { of: classifier, session: classifier.session(), sent: Promise.resolve() };
    }
    return this.#typing;
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
    // An update that is under way is wanted no more, and nothing of its text is to stay.
    this.#endTyping();
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
    const typing = this.#typing;
    this.#typing = null;
    // What was sent is still answered: it may have to reach a person.
    void typing?.sent.then(() => typing.session.close());
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

/**
 * @param {Typing} typing
 * @param {string} text
 */
function submitTo(typing, text) {
  const answer = typing.session.submit(text);
  typing.sent = Promise.allSettled([typing.sent, answer]).then(() => undefined);
  return answer;
}

globalThis.customElements?.define('relayops-intent', RelayopsIntentElement);
