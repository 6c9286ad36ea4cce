/** What lib/browser.js puts into every page. */
interface Outcome<T> {
  value: T | undefined;
  /** The error's code, or `fulfilled`. */
  code: string;
  message: string;
  name: string;
}

interface Window {
  outcome<T>(promise: Promise<T>): Promise<Outcome<T>>;
  /** What lib/escalation.js keeps between two looks at a page. */
  clf: import('/pkg/index.js').IntentClassifier;
  events: { type: string; key: string }[];
  /** What lib/outbox.js opens without a classifier. */
  outbox: import('/pkg/index.js').Outbox;
}
