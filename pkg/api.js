/**
 * Types of the public interface. No code.
 *
 * @module
 */

/**
 * How far loading has come. Phases follow one another in the order of the type. `loaded` and `total` are bytes in
 * `download`, and in `gpu` shaders that the browser was given, which may still be compiling them: the message that ends
 * `prepare` waits for all; in the other phases they count steps, 0 of 1 and 1 of 1. Where a GPU turns out not to be
 * usable, or a build of the engine to compute wrongly, they begin again with the next one.
 *
 * @typedef {object} LoadProgress
 * @property {'wasm' | 'gpu' | 'download' | 'prepare' | 'ready'} phase
 * @property {number} loaded Never falls within a phase; equals `total` when the phase ends.
 * @property {number | null} total `null` while it is not known, as with a compressed transfer.
 * @property {CacheProgress} [cache] In `download`, of a model or an adapter by address: what the cache does.
 */

/**
 * @typedef {object} CacheProgress
 * @property {'waiting' | 'reading' | 'writing' | 'memory'} state Another tab is loading the same model
 *   and this one waits for it; it is read from the cache, of which it is complete; what is missing of it
 *   is fetched and kept; or the cache refused, and nothing is kept.
 * @property {number} bytes Of those loaded so far, how many came from the cache.
 * @property {string} [reason] Why the cache refused.
 */

/**
 * Files of an adapter by name: `adapter_config.json`, `adapter_model.safetensors`, and `intent.json`
 * where it has one.
 *
 * @typedef {Record<string, Blob | ArrayBuffer | Uint8Array<ArrayBuffer>>} AdapterFiles
 */

/**
 * One model.
 *
 * @typedef {object} ModelOptions
 * @property {string | URL | Blob | ArrayBuffer | Uint8Array} [pack] The model; if omitted, the
 *   compact one that comes with this package. An address that ends in `/` or `/pack.json` is a
 *   pack; any other address, a File or Blob, or bytes are a GGUF file. Relative addresses resolve
 *   against the page; bytes must not change until loading ends.
 * @property {object} [config] For a GGUF file: intent configuration that replaces the built-in
 *   one: labels, prompt pieces, temperature, threshold, policy. Packs and adapters bring their own.
 * @property {string | URL | AdapterFiles} [adapter] For a Qwen2.5 GGUF file: the address of an
 *   adapter's folder, or its files by name.
 */

/**
 * What is asked where the first model is unsure.
 *
 * @typedef {ModelOptions & { pack: NonNullable<ModelOptions['pack']> }} CascadeOptions
 */

/**
 * What to compute with: `cpu`, WebAssembly; `webgpu`, any GPU that the browser offers, one in software
 * too; or `auto`, a GPU in hardware for a pack from an address or beside an adapter with `intent.json`,
 * whose golden answers check it, and the CPU for everything else. Where the GPU can't be used, or its
 * answers are not those of the pack, the CPU computes and `info().reason` says why.
 *
 * @typedef {'auto' | 'cpu' | 'webgpu'} Backend
 */

/**
 * The GPU that computes.
 *
 * @typedef {object} GpuInfo
 * @property {string} vendor As the browser names it; it may be empty.
 * @property {string} architecture
 * @property {string} description
 * @property {boolean} software Whether it is emulated.
 * @property {number} losses How often it was lost and found again since loading.
 */

/**
 * @typedef {object} LoadingOptions
 * @property {Backend} [backend] `'cpu'` if omitted.
 * @property {CascadeOptions} [cascade] A second model, which is asked only where the confidence of
 *   the first is under its threshold. Both must have the same labels and policy.
 * @property {boolean | 'persist'} [cache] Whether models and adapters by address are kept for the
 *   next time; `true` if omitted. `'persist'` also asks the browser not to remove them by itself, about which
 *   Firefox asks the person. The package's own model is left to the browser's cache.
 * @property {'compact' | 'retry'} [afterCrash] What to do where a tab died within the last day while it
 *   loaded this model: start with the package's own model, which `info().fallback` then explains, or
 *   try again. `'compact'` if omitted.
 * @property {(progress: LoadProgress) => void} [onProgress]
 * @property {AbortSignal} [signal] Ends loading; all that was loaded is released.
 * @property {number | 'auto'} [threads] How many to work with. `auto`, the default, takes one a core,
 *   up to 8. More than one need a page that is cross-origin isolated (COOP and COEP).
 * @property {number | number[]} [threshold] Confidence below which a message escalates, or goes to
 *   the second model, 0 to 1: one for all models or one for each. If omitted those
 *   that an adapter's `intent.json` has for this cascade, else each configuration's.
 * @property {'off' | import('./outbox/types.js').EscalationOptions} [escalation] Where messages go
 *   that the gate does not leave to the device. `'off'`, which is the default, sends nothing at all.
 */

/** @typedef {ModelOptions & LoadingOptions} LoadOptions */

/**
 * @typedef {object} SetAdapterOptions
 * @property {(progress: LoadProgress) => void} [onProgress]
 * @property {AbortSignal} [signal] Ends the transfer; everything is as it was then.
 * @property {boolean} [force] Use the adapter although it was trained for another base, whose golden
 *   answers are not asked then, or for one that is not known: one without `intent.json`.
 * @property {object} [config] For an adapter without `intent.json`: labels, prompt pieces,
 *   temperature, threshold and policy; the built-in ones where it is omitted.
 */

/**
 * @typedef {object} ClassifyOptions
 * @property {AbortSignal} [signal] Rejects the call with `aborted`.
 * @property {boolean} [tokenConfidence] Also compute `token_confidence`.
 * @property {number | number[]} [threshold] For this call only, 0 to 1: one for all stages or one
 *   for each.
 */

/**
 * @typedef {object} SessionOptions
 * @property {boolean} [tokenConfidence] As for `classify`.
 * @property {number | number[]} [threshold] As for `classify`.
 */

/**
 * @typedef {object} BatchProgress
 * @property {number} done Messages that have been answered.
 * @property {number} total
 */

/**
 * @typedef {object} BatchProgressOption
 * @property {(progress: BatchProgress) => void} [onProgress] After each message.
 */

/** @typedef {ClassifyOptions & BatchProgressOption} BatchOptions */

/**
 * @typedef {object} InfoOptions
 * @property {AbortSignal} [signal] Rejects the call with `aborted`.
 */

/**
 * @typedef {object} Decision
 * @property {'local' | 'escalate'} route Whether the answer may be given on this device.
 * @property {string} reason Stable text of the rule that decided: `confident`, `low_confidence`,
 *   `too_long`, `intent:<label>`, `pattern:<name>` or `error:<code>`.
 */

/**
 * The same object that the command line prints with `--json`.
 *
 * @typedef {object} ClassifyResult
 * @property {string} intent One of the model's labels, or `unknown`.
 * @property {string} json Exactly `{"intent": "<label>"}`.
 * @property {number | null} confidence Probability of `intent`, 0 to 1; `null`, like the next
 *   two, when the message was not classified (too long, or inference failed).
 * @property {Record<string, number> | null} probabilities One number a label, summing to 1.
 * @property {number | null} margin Highest probability minus the second.
 * @property {number} [token_confidence] Mean over the answer's tokens of their full-softmax
 *   probability; only on request.
 * @property {Decision} decision
 * @property {string} stage Which model answered.
 * @property {string} backend Which kernels ran.
 * @property {number} threads
 * @property {StageReport[]} [stages] Of a cascade: what each stage that was asked said, the one that
 *   answered last.
 * @property {number} ms Wall-clock milliseconds in the engine.
 * @property {string} [escalation] Key of the message in the outbox, where it was put there.
 */

/**
 * What a message that is still being typed says so far.
 *
 * @typedef {ClassifyResult & { provisional: true }} ProvisionalResult
 */

/**
 * Why another model runs than the one that was asked for.
 *
 * @typedef {object} Fallback
 * @property {string} wanted The model that was asked for.
 * @property {'crashed'} code A tab died while it loaded that model.
 * @property {string} message For people.
 */

/**
 * What one stage of a cascade said. Null where it could say nothing.
 *
 * @typedef {object} StageReport
 * @property {string} stage
 * @property {string} intent
 * @property {number | null} confidence
 * @property {Record<string, number> | null} probabilities
 * @property {number} threshold From which confidence on no later stage is asked.
 * @property {Decision} decision What the gate makes of this answer alone.
 * @property {string} backend
 * @property {number} threads
 * @property {number} ms
 */

/**
 * One model of a cascade.
 *
 * @typedef {object} StageInfo
 * @property {string} stage
 * @property {string} architecture
 * @property {number} threshold The one in force for calls that name none.
 * @property {number} temperature
 * @property {string} backend
 * @property {number} threads
 * @property {number} parameters
 * @property {number} weight_bytes
 * @property {number} prefix_tokens Tokens of the constant prompt prefix.
 * @property {string} [identity] SHA-256 of a pack's manifest, or of a file that takes adapters.
 */

/**
 * Of a cascade the last model, with all of them in `stages`.
 *
 * @typedef {object} ModelInfo
 * @property {string} stage
 * @property {string} architecture
 * @property {string[]} labels
 * @property {string[]} always_escalate Of the labels, those that the policy never leaves to the device.
 * @property {number} threshold The one in force for calls that name none.
 * @property {number} temperature
 * @property {string} backend
 * @property {number} threads
 * @property {number} parameters
 * @property {number} weight_bytes
 * @property {number} prefix_tokens Tokens of the constant prompt prefix.
 * @property {string} [identity] SHA-256 of a pack's manifest, or of a file that takes adapters.
 * @property {Fallback} [fallback] Present if another model runs than the one that was asked for.
 * @property {StageInfo[]} [stages] The models of a cascade, in the order in which they are asked.
 * @property {GpuInfo | null} gpu What computes where `backend` is `webgpu`.
 * @property {string | null} reason Why nothing faster runs: no relaxed SIMD, not cross-origin
 *   isolated, one thread asked for, shared memory refused, a faster build that does not answer golden
 *   messages as it must; and why the GPU does not, where it was asked for. `null` where all that was asked for runs.
 * @property {number} wasmMemoryBytes Size of the WebAssembly memory; it never shrinks, so this is
 *   its peak. That of the build with WebGPU counts too where the CPU has taken over from it.
 * @property {number} maxMessageChars Longest message that is classified, in characters.
 */

export {};
