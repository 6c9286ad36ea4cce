/** Tests whose subject is not there say so, by name. */

import { appendFileSync } from 'node:fs';

/**
 * @param {import('node:test').TestContext} test
 * @param {string} reason
 */
export function notRun(test, reason) {
  const line = `NOT RUN: ${test.name}: ${reason}`;
  console.log(line);
  if (process.env.RELAYOPS_NOT_RUN_FILE) appendFileSync(process.env.RELAYOPS_NOT_RUN_FILE, `${line}\n`);
  test.skip(reason);
}
