/**
 * relayops-intent: classifies one customer chat message into one intent, inside the browser.
 *
 * Importing this file touches neither `window` nor `Worker`, so it is safe on a server;
 * {@link IntentClassifier.load} is what needs a browser.
 *
 * @module
 */

export { IntentClassifier } from './client/classifier.js';
export { ERROR_CODES, IntentError } from './errors.js';
export { Outbox } from './outbox/outbox.js';
export { redact } from './outbox/redact.js';

/** @typedef {import('./api.js').AdapterFiles} AdapterFiles */
/** @typedef {import('./api.js').Backend} Backend */
/** @typedef {import('./api.js').BatchOptions} BatchOptions */
/** @typedef {import('./api.js').BatchProgress} BatchProgress */
/** @typedef {import('./api.js').CacheProgress} CacheProgress */
/** @typedef {import('./api.js').CascadeOptions} CascadeOptions */
/** @typedef {import('./api.js').ClassifyOptions} ClassifyOptions */
/** @typedef {import('./api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('./api.js').Decision} Decision */
/** @typedef {import('./api.js').Fallback} Fallback */
/** @typedef {import('./api.js').LoadOptions} LoadOptions */
/** @typedef {import('./api.js').LoadProgress} LoadProgress */
/** @typedef {import('./api.js').ModelInfo} ModelInfo */
/** @typedef {import('./api.js').ProvisionalResult} ProvisionalResult */
/** @typedef {import('./api.js').SessionOptions} SessionOptions */
/** @typedef {import('./api.js').SetAdapterOptions} SetAdapterOptions */
/** @typedef {import('./api.js').StageInfo} StageInfo */
/** @typedef {import('./api.js').StageReport} StageReport */
/** @typedef {import('./client/session.js').Session} Session */
/** @typedef {import('./errors.js').IntentErrorCode} IntentErrorCode */
/** @typedef {import('./outbox/types.js').EscalationOptions} EscalationOptions */
/** @typedef {import('./outbox/types.js').OutboxEntry} OutboxEntry */
/** @typedef {import('./outbox/types.js').OutboxError} OutboxError */
/** @typedef {import('./outbox/types.js').OutboxItem} OutboxItem */
/** @typedef {import('./outbox/types.js').OutboxState} OutboxState */
/** @typedef {import('./outbox/types.js').Redact} Redact */
/** @typedef {import('./outbox/types.js').Redacted} Redacted */
