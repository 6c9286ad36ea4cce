/**
 * What the benchmark asks of an engine that runs a large model. No code.
 *
 * @module
 */

/**
 * What an engine is asked for.
 *
 * - `message`: one message, from the call to its answer.
 * - `enter`: the same for a message that was typed before, from sending it on.
 * - `batch`: several messages; the time is that of all.
 * - `naive`: a chat completion that knows nothing of the messages before.
 * - `smart`: the system prompt cached, the answer's opening given, its end held to the labels.
 * - `prefill`: keys and values of {@link Input.tokens} behind nothing.
 * - `profile`: where a message's time goes.
 *
 * @typedef {'message' | 'enter' | 'batch' | 'naive' | 'smart' | 'prefill' | 'profile'} Task
 */

/**
 * @typedef {object} Input
 * @property {string[]} texts One message; several for `batch`; for `prefill` a text.
 * @property {number[]} tokens As many ids as that text has, for engines that take those.
 */

/**
 * @typedef {object} Sample
 * @property {number} ms
 * @property {number} [engineMs] The part inside the engine, where it tells.
 * @property {string | null} [label]
 * @property {Record<string, number>} [counts] Tokens that were computed, parts of the time and the like, by name.
 */

/**
 * An engine that is loaded and ready.
 *
 * @typedef {object} LargeEngine
 * @property {Record<string, unknown>} about How it runs; `threads` are those at work.
 * @property {Partial<Record<Task, (input: Input) => Promise<Sample>>>} tasks
 * @property {() => Promise<void>} free
 */

/**
 * A prompt as text: what stands before and after a message, what opens the answer, and the system's part alone.
 *
 * @typedef {{ system: string, prefix: string, suffix: string, labels: string[] }} Prompt
 */

/**
 * Which engine to load: this package by the address of its modules, `config` for a model that brings none; its
 * instrumented modules; or wllama.
 *
 * @typedef {{ kind: 'ours', base: string, pack: string, config?: import('/pkg/api.js').LoadOptions['config'], threads: number }
 *   | { kind: 'module', model: ModuleModel | null, threads: number }
 *   | { kind: 'wllama', model: string, threads: number, prompt: Prompt }} LargeChoice
 */

/**
 * A model for the instrumented modules: one GGUF file, or the pack of a manifest.
 *
 * @typedef {{ kind: 'gguf', url: string } | { kind: 'pack', url: string }} ModuleModel
 */

export {};
