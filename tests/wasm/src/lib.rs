//! Runs `tests/kernel_suite`, and `tests/gpu_suite` where it is built with `webgpu`, inside a WebAssembly engine.
#![cfg(target_arch = "wasm32")]

#[cfg(feature = "webgpu")]
#[path = "../../gpu_suite/mod.rs"]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod gpu_suite;
#[path = "../../kernel_suite/mod.rs"]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod kernel_suite;
#[cfg(feature = "webgpu")]
pub mod shaders;

use kernel_suite::layers;
use wasm_bindgen::prelude::wasm_bindgen;

/// Runs the suite, panics where it fails, and returns the kernels that ran, separated by commas.
#[wasm_bindgen]
pub fn kernel_suite() -> String {
    console_error_panic_hook::set_once();
    kernel_suite::activations_are_rounded_as_defined();
    kernel_suite::decoders_agree();
    kernel_suite::sums_stay_in_range();
    kernel_suite::products_agree_with_floats();
    layers::exponentials();
    layers::activation_functions();
    layers::norms();
    layers::rotations();
    layers::attention();
    layers::low_rank_paths();
    kernel_suite::kernels_agree().join(",")
}
