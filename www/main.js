/** Connects the three cards of the page. */

import { EscalationPanel } from './ui/escalation-panel.js';
import { MessagePanel } from './ui/message-panel.js';
import { ModelPanel } from './ui/model-panel.js';
import { ResultView } from './ui/result-view.js';

const result = new ResultView();
const message = new MessagePanel(result, () => model.reset());
const escalation = new EscalationPanel();
const model = new ModelPanel({
  onReady: (classifier, info) => {
    message.use(classifier, info);
    escalation.use(classifier);
  },
  onGone: () => {
    message.use(null, null);
    escalation.use(null);
  },
});
