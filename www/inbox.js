/** The server's inbox on a page of its own. */

import { InboxView } from './inbox/inbox-view.js';
import { element } from './ui/dom.js';
import { download } from './ui/download.js';

const view = new InboxView();
const said = element('inbox-exported', HTMLElement);

// Not a link: that could not bear the token.
element('inbox-export', HTMLButtonElement).addEventListener('click', async () => {
  said.textContent = '';
  const corrections = await view.corrections();
  if (!corrections) return;
  if (corrections.size > 0) download(corrections, 'corrected.jsonl');
  said.textContent = corrections.size > 0 ? 'Exported.' : 'No message has been corrected yet.';
});
view.connect();
