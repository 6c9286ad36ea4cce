/**
 * The one table of error codes, and the error that carries them.
 *
 * @module
 */

/**
 * Every code that an {@link IntentError} can carry, with its meaning. Codes are stable and may be
 * matched on; messages may change. Those up to `checksum` come from the engine, the rest from
 * this package.
 */
export const ERROR_CODES = Object.freeze({
  invalid_argument: 'An argument or option cannot be used; the message names it.',
  empty_message: 'Nothing is left of the text after trimming.',
  invalid_gguf: 'The model file is not GGUF, or its header breaks the format or a limit set on it.',
  truncated: 'The model file ends before its header says it does.',
  unsupported_model: 'A sound file that this engine does not run: architecture, tensor type or format version.',
  invalid_tensor: 'A tensor is missing, unexpected, or has another shape or type than the architecture asks for.',
  invalid_config: 'Labels, prompt pieces, temperature or policy that cannot work; the message names the field.',
  invalid_pack: 'A pack’s manifest breaks its format, or its files are not what it says; the message names the field.',
  golden_mismatch: 'What runs here does not answer the pack’s golden messages as it must; the message names the backend.',
  wrong_base: 'The adapter was trained for another base than the one that is loaded, or does not say for which.',
  invalid_data: 'A data set breaks its rules; only the command line meets it.',
  tokenizer: 'The tokenizer cannot be built, or it failed on a text.',
  out_of_memory: 'An allocation was refused.',
  inference: 'The forward pass did not produce a distribution, or the request did not fit the model.',
  device_lost: 'The GPU went away, with all that was on it.',
  training: 'A training run cannot go on; only the command line meets it.',
  unavailable: 'The request is sound, but this model or this runtime cannot answer it.',
  io: 'A file could not be read.',
  network: 'A transfer failed; the message names the address and the HTTP status, if there was one.',
  checksum: 'The bytes are complete but are not the ones that were promised.',
  aborted: 'The AbortSignal of the call was triggered.',
  disposed: 'The classifier was disposed, or the session closed, before the call was answered.',
  superseded: 'A later call of the same session came before this update was answered.',
  worker_failed: 'The Worker could not start, or it crashed. The classifier is of no further use: load a new one.',
  no_simd: 'This browser has no WebAssembly, or none with SIMD.',
});

/** @typedef {keyof typeof ERROR_CODES} IntentErrorCode */

/** What every promise of this package rejects with. */
export class IntentError extends Error {
  /**
   * @param {IntentErrorCode} code Key of {@link ERROR_CODES}.
   * @param {string} message What went wrong; names the file, field or argument.
   * @param {{ cause?: unknown }} [options] As for `Error`.
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'IntentError';
    /**
     * Stable code, a key of {@link ERROR_CODES}.
     * @type {IntentErrorCode}
     */
    this.code = code;
  }
}

/**
 * @param {unknown} code
 * @returns {code is IntentErrorCode}
 */
export function isErrorCode(code) {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
}

/**
 * @param {unknown} thrown Anything that was thrown.
 * @returns {string} Its name and message on one line.
 */
export function describe(thrown) {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}
