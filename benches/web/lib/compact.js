/** The compact model against the same architecture in onnxruntime-web: warm, and from navigation on. */

import { launch } from '../../../tests/web/lib/browser.js';
import { startServer } from '../../../tests/web/lib/server.js';
import { cells, compactOrt, sameLabels, secondThread } from './cells.js';
import { firstAnswers } from './first.js';
import { readPeer } from './peer.js';
import { makeSite } from './site.js';
import { plan, run } from './steady.js';

/** Rounds give n = 24 messages times that many for each cell. */
const SIZES = { full: { rounds: 5, starts: 7 }, quick: { rounds: 1, starts: 2 } };

/**
 * @param {object} options
 * @param {string} options.peer Folder that export_onnx.py wrote.
 * @param {string} options.site Folder to write the site to.
 * @param {string | undefined} options.pack Model file in place of the package's own.
 * @param {'full' | 'quick'} options.size
 * @param {(text: string) => void} options.say
 */
export async function measureCompact({ peer: folder, site, pack: file, size, say }) {
  const peer = readPeer(folder);
  const pack = makeSite(site, folder, file);
  const { rounds, starts } = SIZES[size];
  const server = await startServer({ root: site });
  try {
    const protocol = { ...plan({ messages: peer.messages.map(({ text }) => text), rounds, pack }), starts };
    const browser = await launch();
    const measured = await run(browser, server.origin, protocol, say).finally(() => browser.close());
    const steady = cells(measured, peer);
    const first = await firstAnswers(server.origin, starts, pack, say);
    const { messages, versions, ...described } = peer;
    return {
      protocol,
      peer: described,
      python: versions,
      cells: steady,
      first_answer: first,
      compact_ort: compactOrt(steady),
      threads_2: secondThread(measured),
      same_label_as_fp32: sameLabels(measured, peer),
    };
  } finally {
    await server.stop();
  }
}

/** @typedef {Awaited<ReturnType<typeof measureCompact>>} Compact */
