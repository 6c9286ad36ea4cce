/** The switch that lets escalated messages go to this server's inbox, and what became of them. */

import { element } from './dom.js';

/** @typedef {import('/pkg/index.js').IntentClassifier} IntentClassifier */

const INBOX = '/api/escalations';

export class EscalationPanel {
  #switch = element('escalate', HTMLInputElement);
  #counts = element('outbox', HTMLElement);
  #local = element('privacy-off', HTMLElement);
  /** @type {IntentClassifier | null} */
  #classifier = null;

  constructor() {
    this.#switch.checked = false;
    this.#switch.addEventListener('change', () => void this.#apply());
  }

  /** @param {IntentClassifier | null} classifier */
  use(classifier) {
    this.#classifier = classifier;
    void this.#apply();
  }

  async #apply() {
    const on = this.#switch.checked;
    this.#local.hidden = on;
    this.#counts.textContent = '';
    const classifier = this.#classifier;
    if (!classifier) return;
    await classifier.setEscalation(on ? { url: INBOX } : 'off').catch(() => undefined);
    const { outbox } = classifier;
    const show = async () => {
      if (!outbox || outbox !== this.#classifier?.outbox) return;
      const { queued, sent, failed } = await outbox.counts();
      this.#counts.textContent = `${queued} queued, ${sent} sent, ${failed} failed`;
    };
    for (const state of ['queued', 'sent', 'failed']) outbox?.addEventListener(state, () => void show());
    void show();
  }
}
