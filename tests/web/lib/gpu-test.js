/** Tests that need a GPU, be it in software. */

import { test } from 'node:test';
import { notRun } from './not-run.js';

/**
 * As `test`; where `RELAYOPS_NO_GPU=1` declares that there is no GPU, the test says that it did not run. Otherwise a missing
 * one is a failure.
 *
 * @param {string} name
 * @param {() => Promise<void>} body
 * @param {{ timeout?: number }} [options]
 */
export function gpuTest(name, body, options = {}) {
  const isDeclared = process.env.RELAYOPS_NO_GPU === '1';
  void test(name, options, (context) => (isDeclared ? notRun(context, 'RELAYOPS_NO_GPU declares that there is no GPU') : body()));
}
