/**
 * Looks of the element. A style sheet object and not a `<style>`: a policy without unsafe-inline
 * lets the one through and not the other.
 *
 * @module
 */

const CSS = `
:host {
  --_muted: var(--relayops-muted, #5b6472);
  --_local: var(--relayops-local, #0a6b3d);
  --_escalate: var(--relayops-escalate, #a33b00);
  display: block;
  min-height: 1.5em;
  font: var(--relayops-font, inherit);
  color: var(--relayops-color, inherit);
}
:host([hidden]) { display: none; }
[part=answer] { display: flex; flex-wrap: wrap; gap: 0.25em 0.75em; align-items: center; }
[part=answer][hidden], [part=details][hidden], [part=note][hidden] { display: none; }
[part=intent] { font-weight: 600; }
[part=confidence] { font-variant-numeric: tabular-nums; color: var(--_muted); }
[part=route] { padding: 0 0.6em; border: 1px solid currentColor; border-radius: 1em; font-size: 0.875em; }
[part~=route-local] { color: var(--_local); }
[part~=route-escalate] { color: var(--_escalate); }
[part=toggle] { font: inherit; color: inherit; background: none; border: 1px solid currentColor; border-radius: 0.3em; cursor: pointer; }
[part=toggle]:focus-visible { outline: 2px solid var(--relayops-focus, Highlight); outline-offset: 2px; }
[part=details] { display: grid; grid-template-columns: auto auto; justify-content: start; gap: 0 1em; margin: 0.25em 0 0; padding: 0; font-variant-numeric: tabular-nums; }
[part=details] dd { margin: 0; text-align: end; }
[part=note] { color: var(--_muted); }
[part=status] { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-color-scheme: dark) {
  :host {
    --_muted: var(--relayops-muted, #aab3c0);
    --_local: var(--relayops-local, #6fdca5);
    --_escalate: var(--relayops-escalate, #ffb38a);
  }
}
`;

/** @type {CSSStyleSheet | null} */
let sheet = null;

/** @returns {CSSStyleSheet} One for all elements. */
export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
