/**
 * Messages between the page and the Worker. One request is under way at a time, so the Worker
 * never sees two calls interleave; every message carries the id of its request.
 *
 * @module
 */

import { IntentError, describe, isErrorCode } from './errors.js';

/** @typedef {import('./api.js').Backend} Backend */
/** @typedef {import('./api.js').ClassifyResult} ClassifyResult */
/** @typedef {import('./api.js').LoadProgress} LoadProgress */
/** @typedef {import('./api.js').ModelInfo} ModelInfo */
/** @typedef {import('./errors.js').IntentErrorCode} IntentErrorCode */

/**
 * Where the Worker gets the model's bytes. `feed` means from the page, slice by slice on request:
 * posting the whole buffer would copy it.
 *
 * @typedef {{ kind: 'url', url: string }
 *   | { kind: 'blob', blob: Blob, name: string }
 *   | { kind: 'feed', name: string, bytes: number }
 *   | PackFolder} PackSource
 */

/**
 * A pack by the address of its manifest. Its files lie beside the manifest, unless `files` gives
 * them addresses of their own: a bundler may move each file somewhere else.
 *
 * @typedef {{ kind: 'pack', manifest: string, files: Record<string, string> }} PackFolder
 */

/**
 * Where the Worker gets an adapter's files: beside each other in a folder, whose address ends in
 * `/`, or one by one by name.
 *
 * @typedef {{ kind: 'folder', url: string } | { kind: 'files', files: Record<string, Blob> }} AdapterSource
 */

/**
 * One model to load; several are a cascade.
 *
 * @typedef {{ source: PackSource, config?: string, adapter?: AdapterSource }} StageSource
 */

/**
 * A build of the engine that does not answer golden messages as it must, or for which the memory that the browser grants to
 * threads is too little, or `webgpu` where the GPU can't be used, and how it was found out.
 *
 * @typedef {{ build: string, isCramped: boolean, why: string }} UnfitBuild
 */

/**
 * Options of one classification as the engine names them.
 *
 * @typedef {{ token_confidence?: boolean, thresholds?: number[] }} EngineOptions
 */

/**
 * What a message is taken for while it is typed: `hold` makes only ready what its score will take, and the answer is `null`,
 * unless it costs nothing to say more; `score in full` is with `token_confidence`.
 *
 * @typedef {'hold' | 'score' | 'score in full'} TypingGoal
 */

/**
 * What became of one message of several.
 *
 * @typedef {{ result: ClassifyResult } | { error: { code: IntentErrorCode, message: string } }} BatchOutcome
 */

/**
 * What each request takes and what it is answered with.
 *
 * @typedef {object} Calls
 * @property {{ params: { stages: StageSource[], cache: boolean, threads: number | 'auto', backend: Backend, unfit: UnfitBuild[] }, value: null }} load
 * @property {{ params: { text: string, options: EngineOptions }, value: ClassifyResult }} classify
 * @property {{ params: { texts: string[], thresholds: number[] }, value: BatchOutcome[] }} batch Several messages that
 *   share what they cost, in their order.
 * @property {{ params: { text: string, goal: TypingGoal, thresholds: number[] }, value: ClassifyResult | null }} type
 *   A message while it is typed.
 * @property {{ params: {}, value: null }} forget What is held of messages that were typed.
 * @property {{ params: { adapter: AdapterSource | null, config?: string, force: boolean }, value: null }} setAdapter
 * @property {{ params: {}, value: ModelInfo }} info
 */

/** @typedef {{ [K in keyof Calls]: { type: K, id: number, params: Calls[K]['params'] } }[keyof Calls]} Request */

/**
 * `chunk` answers `pull`; no bytes means the end. `cancel` ends the request under way if that can
 * still be done; it is answered all the same.
 *
 * @typedef {Request
 *   | { type: 'chunk', id: number, stage: number, bytes: Uint8Array<ArrayBuffer> | null }
 *   | { type: 'cancel', id: number }
 *   | { type: 'thread_failed' }} ToWorker
 */

/**
 * What a Worker that helps the engine's is started with: a build with threads, and what it shares.
 *
 * @typedef {{ build: 'simd128-threads' | 'relaxed-simd-threads', module: WebAssembly.Module, memory: WebAssembly.Memory }} ThreadStart
 */

/**
 * `unfit` is the build whose fault it is, where there is another one to try.
 *
 * @typedef {{ code: IntentErrorCode, message: string, fatal: boolean, unfit?: Omit<UnfitBuild, 'why'> }} WireError
 */

/**
 * @typedef {{ type: 'value', id: number, value: Calls[keyof Calls]['value'] }
 *   | { type: 'error', id: number, error: WireError }
 *   | { type: 'progress', id: number, progress: LoadProgress }
 *   | { type: 'pull', id: number, stage: number, position: number }
 *   | { type: 'thread', start: ThreadStart }} FromWorker
 */

/** Largest piece handed to the engine at once, in bytes: its transient copy stays small. */
export const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * Errors without a code of ours are traps or defects: the engine's memory can't be trusted after
 * them, so they are fatal.
 *
 * @param {unknown} thrown
 * @returns {WireError}
 */
export function toWire(thrown) {
  const { code, unfit } = /** @type {{ code?: unknown, unfit?: WireError['unfit'] }} */ (thrown ?? {});
  if (thrown instanceof Error && isErrorCode(code)) {
    return { code, message: thrown.message, fatal: code === 'worker_failed', ...(unfit && { unfit }) };
  }
  const hint = thrown instanceof WebAssembly.RuntimeError ? ' (a trap: most often memory ran out)' : '';
  return { code: 'worker_failed', message: `the engine stopped: ${describe(thrown)}${hint}`, fatal: true, ...(unfit && { unfit }) };
}

/** That a build of the engine is not fit for the model here, while there is another one to try. */
export class UnfitBuildError extends IntentError {
  /** @param {{ code: IntentErrorCode, message: string, unfit: Omit<UnfitBuild, 'why'> }} error */
  constructor({ code, message, unfit }) {
    super(code, message);
    /** @type {UnfitBuild} */
    this.unfit = { ...unfit, why: message };
  }
}

/**
 * @param {Omit<WireError, 'fatal'>} error
 * @returns {IntentError}
 */
export function fromWire({ code, message, unfit }) {
  return unfit === undefined ? new IntentError(code, message) : new UnfitBuildError({ code, message, unfit });
}
