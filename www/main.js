/** Connects the three cards of the page. */

import { MessagePanel } from './ui/message-panel.js';
import { ModelPanel } from './ui/model-panel.js';
import { ResultView } from './ui/result-view.js';

const result = new ResultView();
const message = new MessagePanel(result, () => model.reset());
const model = new ModelPanel({
  onReady: (classifier, info) => message.use(classifier, info),
  onGone: () => message.use(null, null),
});
