/**
 * What the benchmark asks of an engine. No code.
 *
 * @module
 */

/**
 * @typedef {object} Answer
 * @property {string | null} label Name of the best label; `null` where the engine knows only numbers.
 * @property {number} engineMs Milliseconds inside the engine's Worker, tokenization included.
 * @property {number[]} [ids] Token ids of the message, of an engine that shows them.
 * @property {number[]} [logits] One number a label, of an engine that shows them.
 */

/**
 * An engine in a Worker of its own, loaded and ready.
 *
 * @typedef {object} Engine
 * @property {(text: string) => Promise<Answer>} classify
 * @property {() => Promise<Record<string, unknown>>} about What is loaded and how it runs.
 */

/**
 * Which engine to load. `pack` is the address of a model for ours; without it, the package's own. `base` is that of the
 * package's modules.
 *
 * @typedef {{ kind: 'ours', base: string, pack?: string, threads: number } | { kind: 'ort', precision: 'fp32' | 'int8', threads: number }} EngineChoice
 */

export {};
