/** What the instrumented modules have besides: benches/web/wasm. */

import type { Classifier, WasmModule } from '/pkg/engine/wasm-module.d.ts';

/** A loaded model without anything around it. */
export interface Prefill {
  /** Keys and values of the tokens behind nothing. */
  run(tokens: Uint32Array): void;
}

export interface Instrumented extends WasmModule {
  PrefillLoader: new (fileName: string, configJson?: string) => { push(chunk: Uint8Array): void; finish(): Prefill };
  /** Milliseconds in each of `part_names`. */
  profiled(classifier: Classifier, text: string): Float64Array;
  part_names(): string[];
  kernel_name(): string;
  /** Multiply-adds a second of the whole product, of the kernel alone, and of a pure loop of its instruction. */
  kernel_rates(format: string, rows: number, cols: number, tokens: number): Float64Array;
}
