/** The server's inbox on a page of its own. */

import { InboxView } from './inbox/inbox-view.js';

new InboxView().connect();
