/** Tabs after the ARIA pattern: arrows move, the address keeps which one is open. */

import { element } from './dom.js';

const NAMES = ['live', 'batch', 'evaluation'];

/** @returns {{ open: (name: string) => void }} */
export function startTabs() {
  const tabs = NAMES.map((name) => element(`tab-${name}`, HTMLButtonElement));
  const panels = NAMES.map((name) => element(name, HTMLElement));
  const select = (/** @type {number} */ index) => {
    for (const [at, tab] of tabs.entries()) {
      tab.setAttribute('aria-selected', String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
      panels[at].hidden = at !== index;
    }
  };
  const open = (/** @type {string} */ name) => {
    select(Math.max(NAMES.indexOf(name), 0));
    // Replaced, not pushed: going back leaves the page.
    history.replaceState(null, '', name === NAMES[0] ? location.pathname : `#${name}`);
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener('click', () => open(NAMES[index]));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: NAMES.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const wrapped = (to + NAMES.length) % NAMES.length;
      open(NAMES[wrapped]);
      tabs[wrapped].focus();
    });
  }
  select(Math.max(NAMES.indexOf(location.hash.slice(1)), 0));
  return { open };
}
