/**
 * Messages between the page and the Worker of the instrumented modules. No code.
 *
 * @module
 */

/**
 * Rates in multiply-adds a second.
 *
 * @typedef {{ kernel: string, product: number, alone: number, peak: number }} Rates
 */

/**
 * @typedef {{ type: 'load', model: import('./large.js').ModuleModel | null, threads: number }
 *   | { type: 'prefill', tokens: number[] }
 *   | { type: 'profile', text: string }
 *   | { type: 'rates', format: string, rows: number, cols: number, tokens: number }} ToModule
 */

/**
 * @typedef {{ type: 'loaded', about: Record<string, unknown> }
 *   | { type: 'took', ms: number, counts: Record<string, number> }
 *   | { type: 'rates', rates: Rates }
 *   | { type: 'error', message: string }} FromModule
 */

export {};
