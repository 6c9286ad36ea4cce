/** The conversation: what the customer wrote, what became of it, and what was answered. */

import { create, element } from '../ui/dom.js';
import { intentTitle } from '../ui/words.js';
import { HANDED_OVER, KEPT_HERE, replyTo } from './samples.js';

/** @typedef {import('/pkg/index.js').ClassifyResult} ClassifyResult */
/** @typedef {import('/pkg/index.js').OutboxItem} OutboxItem */

/** @type {Record<OutboxItem['state'], string>} */
const STATES = { queued: 'waiting to be sent', sent: 'in the server’s inbox', failed: 'could not be sent' };

export class Thread {
  #list = element('thread', HTMLElement);
  #empty = element('thread-empty', HTMLElement);
  #clear = element('clear', HTMLButtonElement);
  /** Where the state of an escalated message is shown, by its key. @type {Map<string, HTMLElement>} */
  #states = new Map();

  constructor() {
    this.#clear.addEventListener('click', () => this.clear());
  }

  clear() {
    this.#list.replaceChildren();
    this.#states.clear();
    this.#empty.hidden = false;
    this.#clear.hidden = true;
    element('text', HTMLElement).focus();
  }

  /**
   * @param {string} text
   * @param {ClassifyResult} result
   */
  add(text, { intent, decision, escalation }) {
    const local = decision.route === 'local';
    const state = create('span', { text: local ? '' : ', not sent' });
    if (escalation !== undefined) {
      state.textContent = `, ${STATES.queued}`;
      this.#states.set(escalation, state);
    }
    const verdict = create('span', { text: `${intentTitle(intent)}: ${local ? 'answered on this device' : 'escalated'}` });
    const meta = create('p', { className: local ? 'meta local' : 'meta escalate' }, verdict, state);
    const mine = create('div', { className: 'from-customer' }, create('p', { className: 'bubble', text }), meta);
    const handedOver = escalation === undefined ? KEPT_HERE : HANDED_OVER;
    const reply = create('p', { className: 'bubble', text: local ? replyTo(intent) : handedOver });
    this.#list.append(mine, create('div', { className: 'from-agent' }, create('span', { className: 'visually-hidden', text: 'Answer: ' }), reply));
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#empty.hidden = true;
    this.#clear.hidden = false;
  }

  /** @param {OutboxItem} item */
  delivered({ key, state, id, error }) {
    const shown = this.#states.get(key);
    const words = error?.code === 'off' ? 'not sent' : STATES[state];
    if (!shown) return;
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    shown.textContent = `, ${words}${id === null ? '' : `, no.\u00a0${id}`}`;
    // The words may take a line more; whoever reads further up stays there.
    if (scrollHeight - scrollTop - clientHeight < 2) this.#list.scrollTop = this.#list.scrollHeight;
  }
}
