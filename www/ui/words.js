/** What codes mean, for people who read the page. */

/** @type {Record<string, string>} */
const INTENTS = {
  reset_device: 'Reset the device',
  device_status: 'Device status',
  device_faq: 'Question about devices',
  billing: 'Billing',
  greeting: 'Greeting',
  unknown: 'Unknown',
};

/**
 * By the part of the reason before its colon; the part after it is put in for `*`.
 *
 * @type {Record<string, string>}
 */
const REASONS = {
  confident: 'The model is confident enough, and the policy lets this intent be answered here.',
  low_confidence: 'The model is not confident enough.',
  too_long: 'The message is too long to be classified.',
  intent: 'The policy always hands “*” to a person.',
  pattern: 'The message contains something that always goes to a person: *.',
  error: 'The message could not be classified: *.',
};

/** Kinds of what the redaction takes out. @type {Record<string, string>} */
const KINDS = {
  payment_card: 'payment card',
  ssn: 'social security number',
  email: 'e-mail address',
  phone: 'phone number',
  account_number: 'account number',
};

/** @param {string} kind */
export function kindTitle(kind) {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind] : kind;
}

/** @param {string} intent A label of the model, which need not be one of ours. */
export function intentTitle(intent) {
  return Object.hasOwn(INTENTS, intent) ? INTENTS[intent] : intent;
}

/** @param {'local' | 'escalate'} route */
export function routeTitle(route) {
  return route === 'local' ? 'Answered on this device' : 'Escalate to a person';
}

/**
 * @param {string} reason Stable text of the gate, such as `confident` or `intent:billing`.
 * @returns {string} A sentence, or the reason itself if it is not known here.
 */
export function reasonSentence(reason) {
  const [kind = '', ...rest] = reason.split(':');
  const sentence = Object.hasOwn(REASONS, kind) ? REASONS[kind] : reason;
  const subject = rest.join(':').replaceAll('_', ' ');
  return sentence.replace('*', () => (kind === 'intent' ? intentTitle(rest.join(':')) : subject));
}

/** @type {Record<string, string>} */
const SHORT_REASONS = {
  confident: 'Confident',
  low_confidence: 'Not confident enough',
  too_long: 'Too long',
  empty_message: 'Empty message',
  intent: 'Always to a person: *',
  pattern: 'Contains *',
  error: 'Failed: *',
};

/**
 * @param {string} reason
 * @returns {string} A few words, or the reason itself if it is not known here.
 */
export function reasonTitle(reason) {
  const [kind = '', ...rest] = reason.split(':');
  const title = Object.hasOwn(SHORT_REASONS, kind) ? SHORT_REASONS[kind] : reason;
  const [subject, titleOf] = [rest.join(':'), { pattern: kindTitle, intent: intentTitle }[kind]];
  return title.replace('*', () => (titleOf ? titleOf(subject) : subject));
}
