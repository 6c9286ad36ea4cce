/**
 * Messages between the page and the peer's Worker. No code.
 *
 * @module
 */

/** @typedef {{ type: 'load', model: string, threads: number } | { type: 'classify', text: string }} ToOrt */

/**
 * @typedef {{ type: 'loaded', version: string, threads: number }
 *   | { type: 'answer', ids: number[], logits: number[], ms: number }
 *   | { type: 'error', message: string }} FromOrt
 */

export {};
