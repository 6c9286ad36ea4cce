/** Boxes that scroll where their text is long: whoever has no mouse must reach the rest by keyboard. */

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = /** @type {HTMLElement} */ (target);
    // A stop on the way through the page only where there is a reason for it.
    if (box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  }
});

/**
 * @template {HTMLElement} T
 * @param {T} box Its text stays as it is.
 * @param {string} label What a screen reader calls it.
 * @returns {T} The box.
 */
export function reachable(box, label) {
  box.setAttribute('aria-label', label);
  sizes.observe(box);
  return box;
}
