/** The page's reader of rows: RFC 4180, JSON lines, and what is neither. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CsvParser, csvField } from '../../../www/batch/csv.js';
import { rowOf, sorted, tallied, toCsv, toJsonl } from '../../../www/batch/records.js';
import { likelyColumn, readRows } from '../../../www/batch/rows.js';

/** @param {string[]} pieces @param {string} [separator] */
function parse(pieces, separator) {
  const parser = new CsvParser(separator);
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
}

test('the examples of RFC 4180, section 2', () => {
  const [aaa, zzz] = [['aaa', 'bbb', 'ccc'], ['zzz', 'yyy', 'xxx']];
  assert.deepEqual(parse(['aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n']), [aaa, zzz]);
  assert.deepEqual(parse(['aaa,bbb,ccc\r\nzzz,yyy,xxx']), [aaa, zzz]);
  assert.deepEqual(parse(['"aaa","bbb","ccc"\r\nzzz,yyy,xxx']), [aaa, zzz]);
  assert.deepEqual(parse(['"aaa","b\r\nbb","ccc"\r\nzzz,yyy,xxx']), [['aaa', 'b\r\nbb', 'ccc'], zzz]);
  assert.deepEqual(parse(['"aaa","b""bb","ccc"']), [['aaa', 'b"bb', 'ccc']]);
});

test('spaces, empty fields, empty lines and other line ends', () => {
  assert.deepEqual(parse(['a, b ,c\n']), [['a', ' b ', 'c']], 'spaces are part of a field');
  assert.deepEqual(parse([',,\n']), [['', '', '']]);
  assert.deepEqual(parse(['""\n']), [['']], 'a quoted empty field is a record');
  assert.deepEqual(parse(['a,b\n\n\r\nc,d\r\re,f']), [['a', 'b'], ['c', 'd'], ['e', 'f']]);
  assert.deepEqual(parse(['\ufeffa,b\n']), [['a', 'b']]);
  assert.deepEqual(parse(['']), []);
  assert.deepEqual(parse(['a,"x",\n']), [['a', 'x', '']]);
  assert.deepEqual(parse(['5" pipe,b\n']), [['5" pipe', 'b']], 'a quote within a field is a character');
  assert.deepEqual(parse(['café,☎️\n']), [['café', '☎️']]);
});

test('the separator is the one that the first record has most of, outside quotes', () => {
  assert.deepEqual(parse(['a;"b,c,d";e\n1;2,5;3']), [['a', 'b,c,d', 'e'], ['1', '2,5', '3']]);
  assert.deepEqual(parse(['a\tb\n1\t2']), [['a', 'b'], ['1', '2']]);
  assert.deepEqual(parse(['text\nhello; goodbye\n']), [['text'], ['hello; goodbye']]);
  assert.deepEqual(parse(['a,b\n'], '\t'), [['a,b']]);
});

test('cut anywhere, the records are the same', () => {
  const text = 'id,"te""xt"\r\n1,"two\r\nlines, ""quoted"""\r\n\r\n2,plain\r3,"ünï"';
  const whole = parse([text]);
  assert.deepEqual(whole, [['id', 'te"xt'], ['1', 'two\r\nlines, "quoted"'], ['2', 'plain'], ['3', 'ünï']]);
  for (let cut = 1; cut < text.length; cut += 1) {
    assert.deepEqual(parse([text.slice(0, cut), text.slice(cut)]), whole, `cut at ${cut}`);
  }
  assert.deepEqual(parse(Array.from(text)), whole);
});

test('what breaks the format is named with its line', () => {
  assert.throws(() => parse(['a,b\r\n"c"d,e\r\n']), /^Error: line 2: there is text after a closing quote$/);
  assert.throws(() => parse(['a,b\n1,"never\nclosed\n']), /^Error: line 2: a quote is opened and never closed$/);
});

/** @param {string} text @param {string} name @param {boolean} [header] */
const read = (text, name, header = true) => readRows(new File([text], name), header);

test('rows have the columns of their header, and as many fields', async () => {
  const rows = await read('id,text,id\n1,hello\n2,bye,x,surplus\n', 'a.csv');
  assert.deepEqual(rows.columns, ['id', 'text', 'id (3)', 'column 4']);
  assert.deepEqual(rows.rows, [['1', 'hello', '', ''], ['2', 'bye', 'x', 'surplus']]);
  assert.equal(likelyColumn(rows), 1);
  const bare = await read('hello there\nwhy?\n', 'a.txt', false);
  assert.deepEqual([bare.columns, bare.rows], [['column 1'], [['hello there'], ['why?']]]);
  const guessed = await read('id,anything\n1,what does a red light mean\n', 'a.csv');
  assert.equal(likelyColumn(guessed), 1, 'the one with most text');
});

test('JSON lines may have any fields in any order', async () => {
  const { columns, rows } = await read('{"text": "a", "n": 1}\n\n{"more": null, "text": "b"}\r\n"just text"\n', 'a.jsonl');
  assert.deepEqual(columns, ['text', 'n', 'more']);
  assert.deepEqual(rows, [['a', '1', ''], ['b', '', 'null'], ['just text', '', '']]);
});

test('files that can’t be read say why', async () => {
  await assert.rejects(read('{"text": "a"}\nnot json\n', 'a.jsonl'), /line 2 is not JSON/);
  await assert.rejects(read('[1]\n', 'a.ndjson'), /line 1 is not a JSON object/);
  await assert.rejects(read('only,a,header\n', 'a.csv'), /a\.csv has no rows/);
  await assert.rejects(read('', 'a.csv'), /a\.csv has no rows/);
  await assert.rejects(readRows(new File([Uint8Array.of(0x74, 0xff, 0xfe)], 'a.csv'), true), /not text in UTF-8/);
  await assert.rejects(read('x\n'.repeat(200_002), 'a.csv'), /more than 200000 rows/);
});

/** @returns {import('../../../www/ui/classify-each.js').Outcome} */
function outcome(/** @type {string} */ intent, /** @type {number} */ confidence, /** @type {'local' | 'escalate'} */ route) {
  const decision = { route, reason: route === 'local' ? 'confident' : `intent:${intent}` };
  return { result: /** @type {any} */ ({ intent, confidence, decision }) };
}

test('rows sort by any field, with those without a value last', () => {
  const rows = [outcome('billing', 0.5, 'escalate'), { error: 'empty_message' }, outcome('greeting', 0.9, 'local'), outcome('billing', 0.5, 'escalate')].map((one, index) =>
    rowOf(`m${index}`, one, index),
  );
  const numbers = (/** @type {import('../../../www/batch/records.js').Field} */ field, /** @type {boolean} */ descending) => sorted(rows, field, descending).map(({ number }) => number);
  assert.deepEqual(numbers('confidence', false), [1, 4, 3, 2]);
  assert.deepEqual(numbers('confidence', true), [3, 1, 4, 2]);
  assert.deepEqual(numbers('intent', true), [3, 1, 4, 2]);
  assert.deepEqual(numbers('text', true), [4, 3, 2, 1]);
  assert.deepEqual(tallied(rows, ({ intent }) => intent), [['billing', 2], ['', 1], ['greeting', 1]]);
});

test('exports keep every character, and their CSV can be read again', async () => {
  const given = { name: 'a.csv', columns: ['text', 'route'], rows: [['say "hi",\r\nthen', 'x'], ['=1+2', ''], ['-5.5', '@me']] };
  const rows = [outcome('billing', 0.25, 'escalate'), { error: 'empty_message' }, outcome('greeting', 1, 'local')].map((one, index) => rowOf(given.rows[index][0], one, index));
  const csv = await toCsv(given, rows).text();
  const columns = ['text', 'route', 'predicted_intent', 'predicted_confidence', 'route (relayops)', 'reason'];
  assert.deepEqual(parse([csv]), [
    columns,
    ['say "hi",\r\nthen', 'x', 'billing', '0.25', 'escalate', 'intent:billing'],
    ["'=1+2", '', '', '', '', 'empty_message'],
    ['-5.5', "'@me", 'greeting', '1', 'local', 'confident'],
  ]);
  const lines = (await toJsonl(given, rows).text()).trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(lines[0]), columns);
  assert.deepEqual([lines[1].text, lines[1].predicted_confidence, lines[2].route], ['=1+2', null, '@me']);
  for (const formula of ['=cmd()', '+a', '-b', '@c', '\tx']) assert.match(csvField(formula), /^"?'/);
  for (const plain of ['-5', '+1.5e3', 'a=b', '']) assert.equal(csvField(plain), plain);
});
