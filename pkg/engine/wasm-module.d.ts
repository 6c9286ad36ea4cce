/**
 * What this package uses of the module that `cargo xtask build-web` writes to `wasm/`. Kept here,
 * so that the sources can be checked without a build; with one, the build is checked against it.
 */

import type { ClassifyResult, ModelInfo } from '../api.js';
import type { EngineOptions } from '../protocol.js';

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
  /** The next bytes of file number `file`, counted from 0; a file is verified at its end. */
  push(file: number, chunk: Uint8Array): void;
  /** Consumes the loader: builds the model and checks its golden answers. */
  finish(): Classifier;
  free(): void;
}

export interface Classifier {
  classify(text: string, options?: EngineOptions): ClassifyResult;
  info(): Omit<ModelInfo, 'wasmMemoryBytes' | 'maxMessageChars'>;
  free(): void;
}

export interface WasmModule {
  ModelLoader: new (fileName: string, totalBytes?: number, configJson?: string) => ModelLoader;
  PackLoader: new (manifest: Uint8Array) => PackLoader;
  max_message_chars(): number;
}
