/**
 * Takes out of a message what identifies or costs money. It errs on the side of taking out: every
 * run of eight digits goes, whatever it is. Divided as times and sums are, with colons for example, only cards and social
 * security numbers go. Numbers written in words stay.
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

/** A word for an identifier, words between, and the identifier: in one piece, or in groups of digits. */
const NAMED =
  /\b(account|acct|a\/c|customer|policy|contract|member|routing|sort code|iban|pin|passcode|passport|licen[cs]e)((?:[^\p{L}\p{N}\n]{1,3}(?:number|no|num|nr|id|code|is|was)\b){0,3}[^\p{L}\p{N}\n]{1,3})(\p{Nd}{1,12}(?:[\p{Zs}\t\p{Pd}\p{Cf}]{1,3}\p{Nd}{1,12}){1,12}(?![\p{L}\p{N}])|[\p{L}\p{N}][\p{L}\p{N}-]{2,30})/giu;

/** Digits of any script with what people write between them, invisible characters too. */
const DIGITS = /[+(]{0,2}\p{Nd}(?:[\s\p{Pd}\p{Cf}()./,_;|~'\u2019\u00b7\u2022\u2212]{0,6}\p{Nd})*/gu;

/** The same, also with what stands in times and in sums: of these only what looks like one number may go. */
const LOOSE_DIGITS = /\p{Nd}(?:[\s\p{Pd}\p{Cf}()./,_;|~'\u2019\u00b7\u2022\u2212:*+=]{0,6}\p{Nd})*/gu;

/** What makes such a run loose. */
const LOOSE = /[:*+=]/;

/** Lengths of payment card numbers. */
const CARD = { min: 12, max: 19 };

/** Fewest digits of a group of a card’s number whose groups are not all divided in one way. */
const CARD_GROUP = 3;

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
    .replace(LOOSE_DIGITS, (run) => (LOOSE.test(run) ? redactLoose(run, take) : run))
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
 * Takes cards and social security numbers out of a run that may hold times, sums and dates too.
 *
 * @param {string} run
 * @param {(kind: Kind) => string} take
 */
function redactLoose(run, take) {
  const digits = digitsOf(run);
  const groups = groupsOf(run);
  let redacted = '';
  let done = 0;
  for (let first = 0; first < groups.length; first += 1) {
    const found = looseFrom(digits, groups, first);
    if (!found) continue;
    redacted += run.slice(done, groups[first].start) + take(found.kind);
    done = groups[found.last].end;
    first = found.last;
  }
  return redacted + run.slice(done);
}

/**
 * Digits that nothing divides: where they stand in their run, which of its digits they are, and what divides them from
 * those before.
 *
 * @typedef {{ start: number, end: number, from: number, to: number, divider: string }} Group
 */

/** @param {string} run @returns {Group[]} */
function groupsOf(run) {
  /** @type {Group[]} */
  const groups = [];
  let [end, to] = [0, 0];
  for (const match of run.matchAll(/\p{Nd}+/gu)) {
    const divider = run.slice(end, match.index).replace(/[\s\p{Cf}]/gu, '');
    const from = to;
    // Digits beyond the first 65,536 characters take two units.
    to += Array.from(match[0]).length;
    end = match.index + match[0].length;
    groups.push({ start: match.index, end, from, to, divider });
  }
  return groups;
}

/**
 * @param {number[]} digits Of the whole run.
 * @param {Group[]} groups
 * @param {number} first
 * @returns {{ kind: Kind, last: number } | null} What begins with the group `first`, at its longest.
 */
function looseFrom(digits, groups, first) {
  /** @type {{ kind: Kind, last: number } | null} */
  let found = null;
  const { from, divider: before } = groups[first];
  // What is divided in one way throughout begins where that begins.
  const begins = first === 0 || before !== groups[first + 1]?.divider;
  let [even, long] = [true, true];
  for (let last = first; last < groups.length && groups[last].to - from <= CARD.max; last += 1) {
    const { to, divider } = groups[last];
    if (last > first) even &&= divider === groups[first + 1].divider;
    long &&= to - groups[last].from >= CARD_GROUP;
    if (even && isSsn(groups, first, last)) found = { kind: 'ssn', last };
    // Twelve digits are a card’s only where nothing stands around them.
    const enough = to - from > CARD.min || (to - from === CARD.min && to === digits.length && from === 0);
    const isOne = long || (even && begins);
    if (!isOne && last - first > 2) break;
    if (enough && isOne && passesLuhn(digits, from, to)) found = { kind: 'payment_card', last };
  }
  return found;
}

/**
 * @param {Group[]} groups
 * @param {number} first
 * @param {number} last
 */
function isSsn(groups, first, last) {
  if (last - first !== 2) return false;
  const [area, group, serial] = groups.slice(first, last + 1).map(({ from, to }) => to - from);
  return area === 3 && group === 2 && serial === 4;
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
