/** The server's inbox, live. Messages are shown as text, never as markup. */

import { create, element } from './ui/dom.js';

/** @typedef {{ id: number, text: string, intent: string, reason: string, handled_ms: number | null }} Item */

const INBOX = '/api/escalations';

const list = element('inbox', HTMLUListElement);
const status = element('inbox-status', HTMLElement);
/** @type {Map<number, HTMLLIElement>} */
const shown = new Map();

/** @param {Item} item */
function show(item) {
  const row = create(
    'li',
    {},
    create('blockquote', { text: item.text }),
    create('p', { text: `${item.intent}, ${item.reason}${item.handled_ms === null ? '' : ', handled'}`, className: 'muted' }),
    handleButton(item),
  );
  const before = shown.get(item.id);
  shown.set(item.id, row);
  if (before) before.replaceWith(row);
  else list.prepend(row);
}

/** @param {Item} item */
function handleButton({ id, handled_ms }) {
  const button = create('button', { text: handled_ms === null ? 'Mark handled' : 'Open again' });
  button.type = 'button';
  button.addEventListener('click', () => {
    const body = JSON.stringify({ handled: handled_ms === null });
    void fetch(`${INBOX}/${id}`, { method: 'PATCH', headers: { 'content-type': 'application/json' }, body });
  });
  return button;
}

const stream = new EventSource(`${INBOX}/stream?after=0`);
for (const kind of ['escalation', 'update']) stream.addEventListener(kind, (event) => show(JSON.parse(event.data)));
stream.addEventListener('open', () => (status.textContent = 'Live'));
stream.addEventListener('error', () => (status.textContent = 'Connecting again'));
