//! What the browser benchmark measures inside the module: kernels against their instruction's own rate, a forward pass
//! without anything around it, and the parts of a message. The package's modules have none of it; this one has all of
//! theirs besides.
#![cfg(target_arch = "wasm32")]

mod peak;
pub mod prefill;
pub mod rates;

use std::time::Duration;

use js_sys::Float64Array;
use relayops_intent::profile::{self, Part};
use relayops_intent::wasm::Classifier;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// The parts of a message, in the order of [`profiled`]; `matmul` in front of the quantized products of the layers.
#[wasm_bindgen]
#[must_use]
pub fn part_names() -> Vec<String> {
    Part::ALL
        .iter()
        .map(|part| format!("{}{}", if part.is_matmul() { "matmul: " } else { "" }, part.name()))
        .collect()
}

/// Classifies `text` as the package does, its result's conversion included. Milliseconds in each of [`part_names`].
///
/// # Errors
/// As [`Classifier::classify`].
#[wasm_bindgen]
pub fn profiled(classifier: &mut Classifier, text: &str) -> Result<Float64Array, JsValue> {
    let (result, times) = profile::record(|| classifier.classify(text, JsValue::UNDEFINED));
    result?;
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
    Ok(Float64Array::from(times.iter().map(milliseconds).collect::<Vec<_>>().as_slice()))
}
