//! The checks of `tests/gpu_suite`, by name.

use relayops_intent::backend::gpu::Gpu;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::gpu_suite::{self, each_check};

macro_rules! by_name {
    ($($check:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($check)),*];

        async fn check(name: &str, gpu: &Gpu) -> bool {
            match name {
                $(stringify!($check) => gpu_suite::$check(gpu).await,)*
                _ => return false,
            }
            true
        }
    };
}

each_check!(by_name);

/// Their names.
#[wasm_bindgen]
pub fn shader_checks() -> Vec<String> {
    NAMES.iter().map(|name| (*name).to_owned()).collect()
}

/// Runs a check on a device of its own, which has no more room than every device. Panics where it fails, by which the promise
/// never settles and the window gets an error. Resolves to the adapter; to nothing where there is no such check.
///
/// # Errors
/// Where there is no device, as text.
#[wasm_bindgen]
pub async fn run_shader_check(name: String) -> Result<Option<String>, String> {
    console_error_panic_hook::set_once();
    let gpu = Gpu::open_within_defaults().await.map_err(|error| error.to_string())?;
    Ok(check(&name, &gpu).await.then(|| gpu.adapter()))
}
