//! Rates of the matrix product on the threads that there are: to be asked of a build without any others.

use js_sys::Float64Array;
use relayops_intent::quant::activations::QuantizedActivations;
use relayops_intent::quant::decode::DecodedTile;
use relayops_intent::quant::dot::best;
use relayops_intent::quant::tile::{Layout, TILE_ROWS};
use relayops_intent::quant::{Format, QuantMatrix, matmul};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_time::Instant;

use crate::peak;

/// Seconds that a product is repeated for.
const SECONDS: f64 = 0.2;

/// The best kernel's name.
#[wasm_bindgen]
#[must_use]
pub fn kernel_name() -> String {
    best().name().to_owned()
}

/// Multiply-adds a second of a `[rows, cols]` matrix of `format` times `tokens` activation rows: of the whole product,
/// with rounding the activations and decoding the weights; of the kernel alone, on a tile that is decoded; and of a pure
/// loop of the kernel's own instruction. Medians; of the loop the highest.
///
/// # Errors
/// For a format that is not quantized, and for sizes that it does not come in.
#[wasm_bindgen]
pub fn kernel_rates(format: &str, rows: usize, cols: usize, tokens: usize) -> Result<Float64Array, JsValue> {
    let format = Format::ALL
        .into_iter()
        .find(|known| !known.is_float() && format!("{known:?}") == format)
        .ok_or_else(|| JsValue::from_str(&format!("{format}: no such quantized format")))?;
    let matrix = matrix(format, rows, cols)?;
    let x: Vec<f32> = (0..tokens * cols).map(|at| (at * 37 % 255) as f32 / 127.0 - 1.0).collect();
    let mut out = vec![0.0; tokens * rows];
    let multiplications = (rows * cols * tokens) as f64;
    let product = multiplications / seconds(|| matmul(&x, tokens, &matrix, &mut out));

    let layout = best().layout();
    let mut scratch = DecodedTile::for_matrix(&matrix, layout);
    let tile = scratch.load(&matrix, 0);
    let rounded = QuantizedActivations::new(&x, tokens, cols);
    let mut sums = vec![[0.0; TILE_ROWS]; tokens];
    let tiles = rows / TILE_ROWS;
    let alone = seconds(|| (0..tiles).for_each(|_| best().dot(tile, &rounded, &mut sums)));
    let kernel = (tiles * TILE_ROWS * cols * tokens) as f64 / alone;
    std::hint::black_box((&out, &sums));
    Ok(Float64Array::from([product, kernel, peak_of(format, layout)].as_slice()))
}

/// The kernel multiplies bytes where the tile is in fours, which weights of 8 bits never are.
fn peak_of(format: Format, layout: Layout) -> f64 {
    match layout {
        #[cfg(feature = "relaxed-simd")]
        Layout::Fours if format.bits() < 8 => peak::relaxed_dot::rate(),
        _ => peak::dot::rate(),
    }
}

/// A matrix of any bytes but small finite scales.
fn matrix(format: Format, rows: usize, cols: usize) -> Result<QuantMatrix, JsValue> {
    let bytes = format.row_bytes(cols).ok_or_else(|| JsValue::from_str("cols: not whole blocks"))? * rows;
    // 0x2c in every byte: half-precision floats of about a sixteenth, wherever a block has them.
    let data = vec![0x2c; bytes];
    QuantMatrix::new(format, rows, cols, data).map_err(|error| JsValue::from_str(&error.to_string()))
}

/// Median over repetitions, after one to warm up.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 30 || start.elapsed().as_secs_f64() < SECONDS {
        let one = Instant::now();
        run();
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
