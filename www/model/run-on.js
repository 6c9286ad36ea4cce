/** What models run on, as somebody chose. It holds as long as the page does: a reload begins with the CPU. */

import { element } from '../ui/dom.js';

export class RunOn {
  #gpu = element('run-on-gpu', HTMLInputElement);

  /** @param {() => void} onChange */
  constructor(onChange) {
    for (const input of [element('run-on-cpu', HTMLInputElement), this.#gpu]) input.addEventListener('change', onChange);
  }

  /** @returns {import('/pkg/index.js').Backend} Any GPU, if one was asked for; the page says what it is. */
  get backend() {
    return this.#gpu.checked ? 'webgpu' : 'cpu';
  }
}
