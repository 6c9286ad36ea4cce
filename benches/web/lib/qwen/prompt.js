/** The pack's prompt as text, for everybody. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { required } from '../paths.js';

/** @typedef {import('../../page/engines/large.js').Prompt} Prompt */

/**
 * @typedef {object} PackConfig
 * @property {string[]} labels
 * @property {{ system: string, pieces: ('system' | 'message' | { control?: string, text?: string })[], answer: { open: string } }} prompt
 */

/**
 * @param {string} pack Folder.
 * @returns {{ config: PackConfig, prompt: Prompt }}
 */
export function readPrompt(pack) {
  /** @type {{ config: PackConfig }} */
  const { config } = JSON.parse(readFileSync(required(join(pack, 'pack.json')), 'utf8'));
  const { system, pieces, answer } = config.prompt;
  const message = pieces.indexOf('message');
  if (message < 0) throw new Error(`${pack}: the prompt has no place for the message`);
  const text = (/** @type {PackConfig['prompt']['pieces']} */ some) =>
    some.map((piece) => (typeof piece === 'string' ? system : (piece.control ?? piece.text ?? ''))).join('');
  const prefix = text(pieces.slice(0, message));
  return { config, prompt: { system, prefix, suffix: text(pieces.slice(message + 1)) + answer.open, labels: config.labels } };
}
