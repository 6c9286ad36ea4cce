/**
 * Takes out of a message what identifies or costs money. It errs on the side of taking out: every
 * run of eight digits goes, whatever it is. Numbers written in words stay.
 *
 * @module
 */

/** @typedef {import('./types.js').Redacted} Redacted */

/** What stands in place of each kind. */
const PLACEHOLDERS = {
  payment_card: '[payment card]',
  ssn: '[ssn]',
  email: '[email]',
  phone: '[phone]',
  account_number: '[account number]',
};

/** @typedef {keyof typeof PLACEHOLDERS} Kind */

const EMAIL = /[^\s@<>()[\]{},;:"]{1,64} ?@ ?(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}{2,24}/gu;

/** International bank account numbers: in groups of four in capitals, or in one piece. */
const IBAN = /\b(?:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?|[A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30})\b/g;

/** A word for an identifier, words between, and the identifier. */
const NAMED =
  /\b(account|acct|a\/c|customer|policy|contract|member|routing|sort code|iban|pin|passcode|passport|licen[cs]e)((?:[^\p{L}\p{N}\n]{1,3}(?:number|no|num|nr|id|code|is|was)\b){0,3}[^\p{L}\p{N}\n]{1,3})([\p{L}\p{N}][\p{L}\p{N}-]{2,30})/giu;

/** Digits of any script with what people write between them, invisible characters too. */
const DIGITS = /[+(]{0,2}\p{Nd}(?:[\s\p{Pd}\p{Cf}()./,_\u00b7\u2022\u2212]{0,3}\p{Nd})*/gu;

/** Lengths of payment card numbers. */
const CARD = { min: 12, max: 19 };

/** Fewest digits by which something named is an identifier. */
const NAMED_DIGITS = 3;

/** Fewest digits of an IBAN, by which it is not a word. */
const IBAN_DIGITS = 6;

/**
 * Payment cards (by Luhn’s checksum), social security numbers, e-mail addresses, phone numbers and
 * account numbers, each replaced by a placeholder.
 *
 * @param {string} text
 * @returns {Redacted}
 */
export function redact(text) {
  /** @type {Set<Kind>} */
  const found = new Set();
  const take = (/** @type {Kind} */ kind) => (found.add(kind), PLACEHOLDERS[kind]);
  const redacted = text
    .replace(EMAIL, () => take('email'))
    .replace(IBAN, (match) => (digitsOf(match).length >= IBAN_DIGITS ? take('account_number') : match))
    .replace(DIGITS, (run) => {
      const kind = kindOfRun(run);
      return kind === null ? run : take(kind);
    })
    .replace(NAMED, (match, word, between, value) =>
      digitsOf(value).length >= NAMED_DIGITS ? word + between + take('account_number') : match,
    );
  return { text: redacted, redactions: [...found] };
}

/**
 * @param {string} run Digits with separators.
 * @returns {Kind | null} `null` for what may stay.
 */
function kindOfRun(run) {
  const digits = digitsOf(run);
  const groups = (run.match(/\p{Nd}+/gu) ?? []).map((group) => digitsOf(group).length);
  if (holdsCard(digits)) return 'payment_card';
  if (groups.join() === '3,2,4') return 'ssn';
  if (isPhone(run, digits, groups)) return 'phone';
  return digits.length >= 8 || (digits.length === 7 && groups.length === 1) ? 'account_number' : null;
}

/**
 * @param {string} run
 * @param {number[]} digits
 * @param {number[]} groups Their lengths.
 */
function isPhone(run, digits, groups) {
  const count = digits.length;
  if (run.includes('+') && count >= 7 && count <= 15) return true;
  if (groups.join() === '3,4' || count === 10) return true;
  if (count === 11 && digits[0] <= 1) return true;
  return digits[0] === 0 && groups.length > 1 && count >= 9 && count <= 12;
}

/**
 * @param {number[]} digits
 * @returns {boolean} Whether any stretch of them is a card’s number: others may stand around it.
 */
function holdsCard(digits) {
  for (let start = 0; start + CARD.min <= digits.length; start += 1) {
    for (let end = start + CARD.min; end <= Math.min(start + CARD.max, digits.length); end += 1) {
      // Twelve digits are a card’s only where nothing stands around them.
      if (end - start === CARD.min && digits.length !== CARD.min) continue;
      if (passesLuhn(digits, start, end)) return true;
    }
  }
  return false;
}

/**
 * @param {number[]} digits
 * @param {number} start
 * @param {number} end
 */
function passesLuhn(digits, start, end) {
  let sum = 0;
  let distinct = false;
  for (let index = start; index < end; index += 1) {
    const doubled = (end - index) % 2 === 0 ? digits[index] * 2 : digits[index];
    sum += doubled > 9 ? doubled - 9 : doubled;
    distinct ||= digits[index] !== digits[start];
  }
  return sum % 10 === 0 && distinct;
}

/**
 * @param {string} text
 * @returns {number[]} Values of its digits, of whatever script.
 */
function digitsOf(text) {
  return Array.from(text.match(/\p{Nd}/gu) ?? [], valueOf);
}

/** @param {string} digit */
function valueOf(digit) {
  const plain = digit.normalize('NFKC');
  if (plain >= '0' && plain <= '9') return Number(plain);
  // Digits of a script stand in a row that nothing of their kind precedes.
  const code = /** @type {number} */ (digit.codePointAt(0));
  let value = 0;
  while (value < 9 && /\p{Nd}/u.test(String.fromCodePoint(code - value - 1))) value += 1;
  return value;
}
