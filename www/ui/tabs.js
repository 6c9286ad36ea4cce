/** Tabs after the ARIA pattern: arrows move, a reload keeps which one is open, and an address may name one. */

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
    remember(name);
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
  select(Math.max(NAMES.indexOf(remembered() ?? location.hash.slice(1)), 0));
  return { open };
}

// Not in the address: when that changes, browsers fetch the page's icon anew, and a private page makes no request.
const KEY = 'relayops-tab';

/** @param {string} name */
function remember(name) {
  try {
    sessionStorage.setItem(KEY, name);
  } catch {
    // Forbidden: a reload begins with the first tab.
  }
}

/** @returns {string | null} Of a page that is loaded again; one that is opened goes by its address. */
function remembered() {
  const [navigation] = performance.getEntriesByType('navigation');
  if (/** @type {PerformanceNavigationTiming} */ (navigation)?.type !== 'reload') return null;
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
