/** What is taken out of a message before it is stored or sent. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../lib/paths.js';
import { bodyOf } from '../../../pkg/outbox/body.js';
import { redact } from '../../../pkg/outbox/redact.js';
import { backoff, retryAfter } from '../../../pkg/outbox/send.js';

/** @type {Record<string, string[]>} */
const TAKEN = {
  payment_card: [
    '4111 1111 1111 1111', '4111-1111-1111-1111', '4111111111111111', '4111.1111.1111.1111', '4111/1111/1111/1111',
    '5555,5555,5555,4444', '3782 822463 10005', '6011 0009 9013 9424', '4222222222222', '4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1',
    '4111\u20131111\u20131111\u20131111', '4111\u00a01111\u00a01111\u00a01111', '4111\u200b1111\u200b1111\u200b1111',
    '4111\n1111\n1111\n1111', '\uff14\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11',
    '\u0664\u0661\u0661\u0661 \u0661\u0661\u0661\u0661 \u0661\u0661\u0661\u0661 \u0661\u0661\u0661\u0661', '4111 1111 1111 1111 12/29',
    '4111    1111    1111    1111', '4111|1111|1111|1111', '4111 | 1111 | 1111 | 1111', '4111:1111:1111:1111', '4111*1111*1111*1111', '4111~1111~1111~1111',
    "4111'1111'1111'1111", '4111\u20191111\u20191111\u20191111', '4111;1111;1111;1111', '4111+1111+1111+1111', '4111=1111=1111=1111', '4111 : 1111 : 1111 : 1111',
    '4111\r\n\r\n1111\r\n\r\n1111\r\n\r\n1111', '4111\t\t1111\t\t1111\t\t1111', '4111: 1111 1111 1111', '3782*822463*10005', '4:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1',
  ],
  ssn: [
    '078-05-1120', '078 05 1120', '078.05.1120', '078\u201305\u20131120', '078:05:1120', '078    05    1120', '078|05|1120', '078*05*1120', "078'05'1120",
    '078\r\n\r\n05\r\n\r\n1120', '078 = 05 = 1120',
  ],
  email: ['ann.lee+tv@example.co.uk', 'o\u2019x_y%z@mail.example', 'ann @ example.com', 'J\u00f6rg@m\u00fcller.example', "o'neil@example.org"],
  phone: [
    '(555) 123-4567', '555-123-4567', '555.123.4567', '5551234567', '+1 555 123 4567', '1-555-123-4567', '+44 20 7946 0958',
    '020 7946 0958', '555-0199', '+49 (0)30 901820',
  ],
  account_number: ['12345678', '1234567', '98 1234 56 78 9', 'DE89 3704 0044 0532 0130 00', 'gb29nwbk60161331926819', '1111111111111111111111'],
};

for (const [kind, texts] of Object.entries(TAKEN)) {
  test(`${kind} goes, in every way it is written`, () => {
    for (const text of texts) {
      const { text: redacted, redactions } = redact(`before ${text} after`);
      assert.match(redacted, /^before \[[a-z ]+\] after$/, text);
      assert.doesNotMatch(redacted, /\p{Nd}/u, text);
      assert.deepEqual(redactions, [kind], text);
    }
  });
}

test('numbers that are called an identifier go, however short', () => {
  for (const text of ['account number AB-12345', 'acct no. 4411', 'my PIN is 1234', 'customer id: 90210', 'passport X123456', 'account #5512', 'acct 12 34 56', 'my pin is 1 2 3 4', 'sort code: 12  34  56', 'member no. 12 - 34']) {
    const { text: redacted, redactions } = redact(text);
    assert.doesNotMatch(redacted, /\d/, text);
    assert.deepEqual(redactions, ['account_number'], text);
  }
});

test('what is no secret stays', () => {
  for (const text of [
    'the light blinked 3 times at 10:45', 'error 651 on line 2', 'since 2024 I pay 31.20 a month', 'channels 100 200', 'my account is suspended',
    'restart it @ 9', '500 mbps, 24 months', 'the customer service is slow', 'IP 10.0.0.1', 'model TG-789', '', 'caf\u00e9 \u{1f600}',
    'from 10:45-11:30 and 12:15 - 13:00', '10:45:30', 'at 10:45, 11:30, 12:15 and 13:00', '10:45 | 11:30 | 12:15 | 13:00', 'on 12/05 at 10:45', '500/50 mbps', '500 / 50 / 10',
    '12 * 31.20 = 374.40', '31.20 + 5.99 = 37.19', '24*31.20=748.80', '+5.99 +10.00', 'contract 24 months at 31.20', 'contract 12/05/24', 'customer 24/7', 'speed = 500', 'ratio 16:9',
    'ping 12:34:56:78', 'account 5 of 12',
  ]) {
    assert.deepEqual(redact(text), { text, redactions: [] });
  }
});

test('of digits that hang together as times do only the number goes', () => {
  for (const [text, expected] of [
    ['card 4111:1111:1111:1111, 10:45', 'card [payment card], 10:45'],
    ['10:45, 4111*1111*1111*1111', '10:45, [payment card]'],
    ['ssn 078:05:1120, 10:45', 'ssn [ssn], 10:45'],
    ['4111 1111 1111 1111 +1 555 123 4567', '[payment card] [phone]'],
  ]) {
    assert.equal(redact(text).text, expected);
  }
});

test('several kinds go at once, and each is named once', () => {
  const { text, redactions } = redact('a@b.example or c@d.example, 555-123-4567; card 4111 1111 1111 1111, ssn 078-05-1120');
  assert.equal(text, '[email] or [email], [phone]; card [payment card], ssn [ssn]');
  assert.deepEqual(redactions.toSorted(), ['email', 'payment_card', 'phone', 'ssn']);
});

test('of the project’s own messages, few are touched, and quickly', () => {
  const lines = ['adversarial', 'dev', 'seeds'].flatMap((name) => readFileSync(join(ROOT, `data/${name}.jsonl`), 'utf8').trimEnd().split('\n'));
  const texts = lines.map((line) => JSON.parse(line).text);
  const touched = texts.filter((text) => redact(text).redactions.length > 0);
  console.log(`MEASURED redaction: ${touched.length} of ${texts.length} messages of the project's sets are touched`);
  assert.ok(touched.length <= texts.length / 50, touched.join('\n'));
});

test('hostile texts take no longer than their length', () => {
  for (const unit of ['a', '1', '1 ', 'a@', 'a.', 'account ', '@a.', '+(', '1(((', 'AA11 ', 'account number number ', '1    ', '1:', '1 : ', '4111:', '123:', '1;*=', ':;*=+ ', 'acct 1 ', 'acct 12 34 ', 'pin 1  -']) {
    const text = unit.repeat(Math.ceil(200_000 / unit.length));
    const start = performance.now();
    redact(text);
    const ms = performance.now() - start;
    assert.ok(ms < 5_000, `${JSON.stringify(unit)}: ${ms} ms`);
  }
});

/** @type {import('../../../pkg/api.js').ClassifyResult} */
const RESULT = {
  intent: 'billing', json: '{"intent": "billing"}', confidence: 1.000_000_1, probabilities: { billing: 1.000_000_1, unknown: -0 },
  margin: 1, decision: { route: 'escalate', reason: 'intent:billing' }, stage: 'compact', backend: 'cpu', threads: 1, ms: 1,
};

test('what is sent fits the server’s schema, whatever was written', async () => {
  const body = await bodyOf(` ${'\ud83d\ude00'.repeat(9_000)} `, RESULT, 1);
  assert.equal(Array.from(body.text).length, 8_000);
  assert.ok(body.truncated);
  assert.deepEqual([body.confidence, body.probabilities?.billing], [1, 1]);
  assert.equal((await bodyOf('a \ud83d b', RESULT, 1)).text, 'a \ufffd b');
  const far = await bodyOf(`${'x'.repeat(7_990)}4111 1111 1111 1111`, RESULT, 1);
  assert.doesNotMatch(far.text, /\d/, 'a number across the cut does not leave its beginning');
  const longReason = await bodyOf('a', { ...RESULT, decision: { route: 'escalate', reason: `x\n${'y'.repeat(200)}` } }, 1);
  assert.ok(longReason.reason.length === 128 && !longReason.reason.includes('\n'));
});

test('a redaction that fails withholds the text', async () => {
  const hooks = [() => { throw new Error('no'); }, () => undefined, () => ({ text: 7, redactions: [] }), async () => { throw new Error('no'); }];
  for (const hook of hooks) {
    const body = await bodyOf('secret', RESULT, 1, /** @type {any} */ (hook));
    assert.ok(!JSON.stringify(body).includes('secret'));
    assert.deepEqual(body.redactions, ['withheld']);
  }
  const own = await bodyOf('secret word', RESULT, 1, async (text) => ({ text: text.replace('secret', '[own]'), redactions: ['own'] }));
  assert.deepEqual([own.text, own.redactions], ['[own] word', ['own']]);
});

test('waits grow, differ and have an end; Retry-After is read in both forms', () => {
  for (const [attempts, longest] of [[0, 1_000], [1, 2_000], [5, 32_000], [30, 300_000]]) {
    const waits = Array.from({ length: 200 }, () => backoff(attempts));
    assert.ok(waits.every((wait) => wait >= longest / 2 && wait <= longest), `${attempts}`);
    assert.ok(new Set(waits).size > 50, 'two clients do not come back together');
  }
  assert.equal(retryAfter('7'), 7_000);
  assert.equal(retryAfter('999999999'), 3_600_000);
  const date = retryAfter(new Date(Date.now() + 60_000).toUTCString());
  assert.ok(date > 57_000 && date <= 60_000, `${date}`);
  for (const nothing of [null, '', 'soon', '-5', 'Thu, 01 Jan 1970 00:00:00 GMT']) assert.equal(retryAfter(nothing), 0);
});
