/** Drawing with SVG elements: text goes in as text. */

const SPACE = 'http://www.w3.org/2000/svg';

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * A picture that a screen reader reads as one sentence; its numbers stand in a table beside it.
 *
 * @param {{ width: number, height: number, label: string, className: string }} options
 * @param {...Node} children
 */
export function picture({ width, height, label, className }, ...children) {
  return draw('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label, class: `chart ${className}` }, ...children);
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} text
 * @param {{ anchor?: 'start' | 'middle' | 'end', className?: string, turned?: boolean }} [options]
 */
export function words(x, y, text, { anchor = 'start', className = '', turned = false } = {}) {
  const made = draw('text', { x, y, 'text-anchor': anchor, class: className }, text);
  if (turned) made.setAttribute('transform', `rotate(-90 ${x} ${y})`);
  return made;
}
