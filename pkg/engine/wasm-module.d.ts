/**
 * What this package uses of the module that `cargo xtask build-web` writes to `wasm/`. Kept here,
 * so that the sources can be checked without a build; with one, the build is checked against it.
 */

import type { ClassifyResult, ModelInfo } from '../api.js';
import type { BatchOutcome, EngineOptions } from '../protocol.js';

/** Takes a GGUF file in pieces. Throws errors with a string property `code`. */
export interface ModelLoader {
  /** Bytes in file order, in pieces of any size. */
  push(chunk: Uint8Array): void;
  /** Consumes the loader: builds the tokenizer and computes the prefix KV. */
  finish(): Classifier;
  free(): void;
}

/** Takes the files of a pack, each in pieces. Throws errors with a string property `code`. */
export interface PackLoader {
  /** The files in the order in which their bytes are taken. */
  files(): { path: string; bytes: number; sha256: string }[];
  /** The SHA-256 of the manifest in hex. */
  identity(): string;
  /** The next bytes of file number `file`, counted from 0; a file is verified at its end. */
  push(file: number, chunk: Uint8Array): void;
  /** Consumes the loader: builds the model and checks its golden answers. */
  finish(): Classifier;
  free(): void;
}

/** One file of an adapter. */
export interface AdapterFile {
  name: string;
  max_bytes: number;
  /** Whether an adapter may be without it. */
  optional: boolean;
}

/** How far a message has come that is classified in steps. */
export type Step = { state: 'running' } | { state: 'waiting' } | { state: 'held' } | { state: 'done'; result: ClassifyResult };

export interface Classifier {
  classify(text: string, options?: EngineOptions): ClassifyResult;
  /** Several messages that share what they cost, in their order. */
  classify_batch(texts: string[], thresholds: Float32Array): BatchOutcome[];
  /**
   * Begins a message, ending what was under way: make ready what scoring it takes, or score it, with `token_confidence` (`in
   * full`) or without; `at once` where nobody types.
   */
  begin(text: string, goal: 'hold' | 'score' | 'score in full' | 'score at once' | 'score in full at once', thresholds: Float32Array): Step;
  /** The next few milliseconds of it. */
  advance(): Step;
  /** Forgets what was held of messages. */
  forget(): void;
  /** Consumes both: `later` is asked where this is unsure. */
  followed_by(later: Classifier): Classifier;
  /**
   * Contents of the files in the order of `adapter_files`; `given` is a configuration for an adapter without the first.
   * Everything is as it was after an error.
   */
  begin_adapter(intent: string | undefined, config: string, tensors: Uint8Array, given: string | undefined, forced: boolean): void;
  begin_removal(): void;
  /** The next step of either; `held` when the adapter is there, or gone. */
  advance_adapter(): Step;
  info(): Omit<ModelInfo, 'gpu' | 'reason' | 'wasmMemoryBytes' | 'maxMessageChars'>;
  free(): void;
}

/** Which module to start, and, of a build with threads, on which memory. */
export interface InitOptions {
  module_or_path: WebAssembly.Module;
  memory?: WebAssembly.Memory;
  thread_stack_size?: number;
}

/** What a build with threads has besides. */
export interface ThreadsModule extends WasmModule {
  /** Makes the calling Worker a thread of the pool: it must call `help` from now on. */
  join(): void;
  /** Helps until there is nothing to do; to be called again when the number at `turn_address` is another than this returns. */
  help(): number;
  /** Where in memory the pool's turn is, 4 bytes. */
  turn_address(): number;
  /** Says that the calling Worker broke off. */
  break_off(): void;
}

/** A classifier of the build with WebGPU. */
export interface GpuClassifier extends Classifier {
  /** Resolves when a step that said `waiting` can go on. */
  answered(): Promise<void>;
}

/** A device that models can be loaded onto. */
export interface Gpu {
  compile(index: number): void;
  model_loader(fileName: string, totalBytes?: number, configJson?: string): ModelLoader;
  pack_loader(manifest: Uint8Array): PackLoader;
  /** What went wrong first, if anything did: nothing can be read of the device any more then. */
  fault(): string | undefined;
  /** Gives back all that is on the device, whoever still holds it. */
  destroy(): void;
  free(): void;
}

/** What the build with WebGPU has besides. */
export interface GpuModule extends WasmModule {
  Gpu: {
    open(): Promise<Gpu>;
    /** How many shaders there are to compile. */
    shaders(): number;
    /** As the loader's own `finish`, waiting for the device. */
    finish(loader: PackLoader): Promise<Classifier>;
  };
}

export interface WasmModule {
  default(options: InitOptions): Promise<{ memory: WebAssembly.Memory }>;
  /** Threads that work is shared out to, the caller's included. */
  threads(): number;
  ModelLoader: new (fileName: string, totalBytes?: number, configJson?: string) => ModelLoader;
  PackLoader: new (manifest: Uint8Array) => PackLoader;
  max_message_chars(): number;
  adapter_files(): AdapterFile[];
}
