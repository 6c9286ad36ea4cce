/** Connects the parts of the page. */

import { BatchPanel } from './batch/batch-panel.js';
import { EvaluationPanel } from './evaluation/evaluation-panel.js';
import { InboxView } from './inbox/inbox-view.js';
import { ChatPanel } from './live/chat-panel.js';
import { ResultView } from './live/result-view.js';
import { Tally } from './live/tally.js';
import { Thread } from './live/thread.js';
import { ModelPanel } from './model/model-panel.js';
import { PrivacySwitch } from './privacy/privacy-switch.js';
import { acceptDrops } from './ui/drops.js';
import { startTabs } from './ui/tabs.js';

const tabs = startTabs();
const [tally, thread] = [new Tally(), new Thread()];
const inbox = new InboxView((state) => privacy?.inboxIs(state));
/** @type {PrivacySwitch | undefined} */
let privacy;
privacy = new PrivacySwitch(inbox, (item) => {
  tally.delivered(item);
  thread.delivered(item);
});
const chat = new ChatPanel(new ResultView(), {
  onSent: (text, result) => {
    tally.add(result);
    thread.add(text, result);
  },
  onAnswer: (result) => void model.answered(result),
  onCrash: () => model.reset(),
});
const batch = new BatchPanel((result) => void model.answered(result));
const evaluation = new EvaluationPanel();
const model = new ModelPanel({
  onReady: async (classifier, info) => {
    // Another one may have been chosen meanwhile.
    if (!(await privacy.use(classifier))) return;
    chat.use(classifier, info);
    batch.use(classifier);
    evaluation.use(classifier, info);
  },
  onGone: () => {
    void privacy.use(null);
    chat.use(null, null);
    batch.use(null);
    evaluation.use(null, null);
  },
  onFetched: (bytes) => privacy.fetched(bytes),
});
acceptDrops({
  onModel: (file) => model.loadFile(file),
  onRows: (file) => {
    tabs.open('batch');
    void batch.read(file);
  },
});
