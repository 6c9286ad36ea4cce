//! One suite over every dot kernel, bit for bit against the scalar one, at model shapes and odd tails; run natively by `tests/kernels.rs` and in
//! WebAssembly by `tests/wasm`.

use relayops_intent::quant::activations::QuantizedActivations;
use relayops_intent::quant::decode::DecodedTile;
use relayops_intent::quant::dot::{DotKernel, available, scalar::Scalar};
use relayops_intent::quant::tile::{TILE_ROWS, Tile, TiledMatrix};
use relayops_intent::quant::{Format, QuantMatrix, Weights, matmul, multiply};

/// Activation rows: every remainder of the kernels' blocking, a message's size, a long prefill.
const TOKENS: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 25, 128];
/// Widths: the shortest, an odd number of blocks, the 0.5B's and 1.5B's.
const WIDTHS: [usize; 6] = [32, 96, 256, 896, 1536, 4864];

/// Numbers in -1..1 from SplitMix64.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A matrix of random bytes in `format`, its half-precision scales made small and finite.
pub(crate) fn random_matrix(format: Format, rows: usize, cols: usize, seed: u64) -> QuantMatrix {
    let bytes = format.row_bytes(cols).expect("whole blocks") * rows;
    let mut data: Vec<u8> = random(seed, bytes).iter().map(|x| (x * 128.0) as i32 as u8).collect();
    let scales: &[usize] = match format {
        Format::F32 => {
            let values = random(seed, rows * cols);
            return QuantMatrix::from_f32(rows, cols, &values).expect("sizes agree");
        }
        Format::F16 => &[0],
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4K => &[0, 2],
        Format::Q6K => &[208],
    };
    for block in data.chunks_exact_mut(format.block_bytes()) {
        for at in scales {
            // Exponent 2^-4 or so, any sign and mantissa.
            block[at + 1] = block[at + 1] & 0x83 | 0x2c;
        }
    }
    QuantMatrix::new(format, rows, cols, data).expect("sizes agree")
}

/// Every kernel against the scalar definition. Returns the names of the kernels that ran.
pub(crate) fn kernels_agree() -> Vec<&'static str> {
    let kernels = available();
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        for cols in WIDTHS.into_iter().filter(|cols| cols.is_multiple_of(format.block_len())) {
            for rows in [1, TILE_ROWS - 1, TILE_ROWS] {
                let matrix = random_matrix(format, rows, cols, 7 + cols as u64);
                let tiled = TiledMatrix::new(&matrix);
                let mut scratch = DecodedTile::for_matrix(&matrix);
                let decoded = scratch.load(&matrix, 0);
                for tokens in TOKENS {
                    let x = QuantizedActivations::new(&random(tokens as u64, tokens * cols), tokens, cols);
                    for kernel in &kernels {
                        compare(*kernel, decoded, &x, format);
                        if let Some(tiled) = &tiled {
                            compare(*kernel, tiled.tile(0), &x, format);
                        }
                    }
                }
            }
        }
    }
    kernels.iter().map(|kernel| kernel.name()).collect()
}

fn compare(kernel: &dyn DotKernel, weights: Tile<'_>, x: &QuantizedActivations, format: Format) {
    let mut expected = vec![[0.0; TILE_ROWS]; x.rows];
    let mut actual = vec![[f32::NAN; TILE_ROWS]; x.rows];
    Scalar.dot(weights, x, &mut expected);
    kernel.dot(weights, x, &mut actual);
    // The very bits: kernels add the same rounded products in the same order.
    let bits =
        |lanes: &[[f32; TILE_ROWS]]| lanes.as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(
        bits(&actual) == bits(&expected),
        "{} on {format:?}, {} columns, {} tokens: {actual:?}, scalar {expected:?}",
        kernel.name(),
        x.cols,
        x.rows
    );
}

/// The whole product, every format, against floats: rows past a task's share, odd row counts, one and many tokens.
/// The 8-bit rounding of activations is the only difference: half a step of 1/127 of a block's largest value.
pub(crate) fn products_agree_with_floats() {
    for format in Format::ALL {
        for (rows, cols, tokens) in [(1, 256, 1), (67, 256, 3), (130, 768, 9), (1027, 512, 11)] {
            let matrix = random_matrix(format, rows, cols, 99);
            let x = random(5, tokens * cols);
            let mut product = vec![f32::NAN; tokens * rows];
            matmul(&x, tokens, &matrix, &mut product);
            if let Some(tiled) = TiledMatrix::new(&matrix) {
                let mut again = vec![f32::NAN; tokens * rows];
                multiply(&x, tokens, Weights::Tiled(&tiled), &mut again);
                assert_eq!(again, product, "{format:?}: the order of the weights changes nothing");
            }
            let mut row = vec![0.0; cols];
            for n in 0..rows {
                matrix.dequantize_row(n, &mut row);
                for m in 0..tokens {
                    let x = &x[m * cols..][..cols];
                    let exact: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let size: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
                    let half_step = if format.is_float() { 1e-5 } else { 0.5 / 127.0 * 1.001 };
                    let error = (f64::from(product[m * rows + n]) - exact).abs();
                    assert!(
                        error <= size * half_step,
                        "{format:?} [{rows}, {cols}] row {n} token {m}: off by {error}"
                    );
                }
            }
        }
    }
}
