/** The inbox page's reader of server-sent events. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventParser } from '../../../www/inbox/sse.js';

/** @param {string[]} pieces */
function parse(pieces) {
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

const STREAM = '\ufeff: connected\nretry: 2000\n\nid: 7\nevent: escalation\ndata: {"a":\r\ndata: 1}\r\n\r\ndata\n\ndata:x\rdata: y\r\rid\ndata:  z\n\nevent: cut\ndata: off\n';

test('events as the HTML standard reads them', () => {
  assert.deepEqual(parse([STREAM]), [
    { type: 'escalation', data: '{"a":\n1}', lastEventId: '7' },
    { type: 'message', data: '', lastEventId: '7' },
    { type: 'message', data: 'x\ny', lastEventId: '7' },
    { type: 'message', data: ' z', lastEventId: '' },
  ]);
});

test('cut anywhere, the events are the same', () => {
  const whole = parse([STREAM]);
  for (let cut = 1; cut < STREAM.length; cut += 1) assert.deepEqual(parse([STREAM.slice(0, cut), STREAM.slice(cut)]), whole, `cut at ${cut}`);
  assert.deepEqual(parse(Array.from(STREAM)), whole);
});
