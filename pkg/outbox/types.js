/**
 * Types of the outbox. No code.
 *
 * @module
 */

/**
 * What a redaction makes of a text.
 *
 * @typedef {object} Redacted
 * @property {string} text
 * @property {string[]} redactions Kinds of what was taken out, each once.
 */

/** @typedef {(text: string) => Redacted | Promise<Redacted>} Redact */

/**
 * Where escalations go.
 *
 * @typedef {object} EscalationOptions
 * @property {string | URL} url Address that takes `POST`, `/api/escalations` of the server. Nothing
 *   is ever sent anywhere else.
 * @property {string | (() => string | Promise<string>)} [token] Bearer token, or what gives the
 *   current one. It is never stored.
 * @property {Redact} [redact] In place of the built-in `redact`. Where it fails or takes longer than ten seconds, the text
 *   is withheld.
 * @property {number} [maxAgeMs] How long a text waits at the most, in milliseconds; 72 hours if
 *   omitted, 28 days at the most. Then it is erased and the message counts as failed.
 */

/** @typedef {'queued' | 'sent' | 'failed'} OutboxState */

/**
 * Why a message is not sent, or not sent yet.
 *
 * @typedef {object} OutboxError
 * @property {string} code Of the server, as its API describes it, or `network`, `timeout`, `token`,
 *   `not_acknowledged`, `http_<status>`, `expired`, `queue_full`, or `off` where escalation was turned off.
 * @property {number | null} status HTTP status; `null` where there was no answer.
 */

/**
 * A message on its way.
 *
 * @typedef {object} OutboxItem
 * @property {string} key Its UUID, which the server stores it under at most once.
 * @property {OutboxState} state
 * @property {string} intent
 * @property {string} reason
 * @property {string[]} redactions Kinds of what was taken out of the text.
 * @property {number} attempts How often it was sent.
 * @property {number} bytes Of the bodies that were sent for it and answered.
 * @property {number} createdMs Times are milliseconds since 1970.
 * @property {number | null} nextMs When it is sent again at the earliest; `null` unless queued.
 * @property {number | null} id The server's number for it; `null` unless sent.
 * @property {OutboxError | null} error The last one.
 */

/** @typedef {OutboxItem & { text: string | null }} OutboxEntry An item with its redacted text, `null` once that is erased. */

/**
 * What is sent.
 *
 * @typedef {object} EscalationBody
 * @property {string} text
 * @property {string} intent
 * @property {string} reason
 * @property {string} stage
 * @property {number | null} confidence
 * @property {Record<string, number> | null} probabilities
 * @property {string[]} redactions
 * @property {boolean} truncated
 * @property {number} created_ms
 */

/**
 * An item as it is stored.
 *
 * @typedef {object} OutboxRecord
 * @property {string} key
 * @property {string} url
 * @property {OutboxState} state
 * @property {string} intent
 * @property {string} reason
 * @property {string[]} redactions
 * @property {number} attempts
 * @property {number} [bytes]
 * @property {number} createdMs
 * @property {number} expiresMs
 * @property {number} nextMs
 * @property {number} pausedUntilMs Until when nothing at all is sent to `url`; 0 if that may go on.
 * @property {number | null} id
 * @property {OutboxError | null} error
 * @property {EscalationBody | null} body `null` once erased.
 */

export {};
