/**
 * Stands in for the declarations that `cargo xtask build-web` writes to pkg/wasm/, where there is
 * no build (see `rootDirs` in tsconfig.worker.json). With a build, the package is checked against
 * the build's own.
 */

import type { WasmModule } from '../../../../../pkg/engine/wasm-module.d.ts';

declare const init: WasmModule['default'];
export default init;
export const ModelLoader: WasmModule['ModelLoader'];
export const PackLoader: WasmModule['PackLoader'];
export const adapter_files: WasmModule['adapter_files'];
export const max_message_chars: WasmModule['max_message_chars'];
export const threads: WasmModule['threads'];
