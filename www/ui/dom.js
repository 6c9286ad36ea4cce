/** Small helpers for the page's elements. Text goes in as text, never as markup. */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`#${id} is not a ${type.name}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{ text?: string, className?: string, id?: string, attributes?: Record<string, string> }} [options]
 * @param {...(Node | string)} children Strings become text.
 * @returns {HTMLElementTagNameMap[K]}
 */
export function create(tag, { text, className, id, attributes = {} } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  if (id) made.id = id;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * @param {string} text
 * @param {() => void} onClick
 * @param {{ className?: string, id?: string, attributes?: Record<string, string> }} [options]
 * @returns {HTMLButtonElement}
 */
export function button(text, onClick, options = {}) {
  const made = create('button', { ...options, text });
  made.type = 'button';
  made.addEventListener('click', onClick);
  return made;
}

/**
 * Fills a `dl` with term and value pairs.
 *
 * @param {HTMLElement} list
 * @param {[string, string][]} pairs
 */
export function showFacts(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([term, value]) => create('div', {}, create('dt', { text: term }), create('dd', { text: value }))),
  );
}

/**
 * @param {HTMLElement} box A `role="alert"`.
 * @param {unknown} error `null` hides the box.
 */
export function showError(box, error) {
  box.hidden = error === null;
  box.replaceChildren();
  if (error === null) return;
  const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error);
  box.append(create('code', { text: String(code ?? 'error') }), `: ${message ?? error}`);
}
