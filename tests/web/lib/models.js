/** A folder of small models: one sound, the others each broken in one way. */

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyModelWriter } from './paths.js';

/**
 * @typedef {object} ModelFolder
 * @property {string} folder
 * @property {string} tiny Path of the sound model, `tiny.gguf`.
 * @property {number} tinyBytes
 * @property {() => void} remove
 */

/** @returns {ModelFolder} */
export function makeModels() {
  const folder = mkdtempSync(join(tmpdir(), 'relayops-web-'));
  const tiny = join(folder, 'tiny.gguf');
  if (process.env.RELAYOPS_TINY_MODEL) copyFileSync(process.env.RELAYOPS_TINY_MODEL, tiny);
  else execFileSync(tinyModelWriter(), [tiny], { stdio: ['ignore', 'ignore', 'inherit'] });
  const bytes = readFileSync(tiny);
  writeFileSync(join(folder, 'cut-in-tensors.gguf'), bytes.subarray(0, Math.floor(bytes.length / 2)));
  writeFileSync(join(folder, 'cut-in-header.gguf'), bytes.subarray(0, 20));
  writeFileSync(join(folder, 'not-gguf.gguf'), '<!doctype html><title>Not a model</title>'.padEnd(4096));
  return { folder, tiny, tinyBytes: bytes.length, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
