//! One suite over every dot kernel, bit for bit against the scalar one, and over what lies between products, against
//! definitions in doubles ([`layers`]), at model shapes and odd tails; run natively by `tests/kernels.rs` and in
//! WebAssembly, in Node and in Chromium, by `tests/wasm`.

pub(crate) mod layers;

use relayops_intent::quant::activations::QuantizedActivations;
use relayops_intent::quant::decode::DecodedTile;
use relayops_intent::quant::dot::{DotKernel, available, scalar::Scalar};
use relayops_intent::quant::tile::{Layout, Quants, TILE_ROWS, Tile, TiledMatrix};
use relayops_intent::quant::{Format, QuantMatrix, Weights, matmul, multiply};

/// Activation rows: every remainder of the kernels' blocking, a message's size, a long prefill.
const TOKENS: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 25, 128];
/// Widths: the shortest, odd numbers of blocks, compact's, the 0.5B's and the 1.5B's, whose last is an odd number of blocks
/// of 256.
const WIDTHS: [usize; 8] = [32, 96, 256, 384, 896, 1536, 4864, 8960];

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
    if format == Format::F32 {
        return QuantMatrix::from_f32(rows, cols, &random(seed, rows * cols)).expect("sizes agree");
    }
    for block in data.chunks_exact_mut(format.block_bytes()) {
        for at in scales_of(format) {
            // Exponent 2^-4 or so, any sign and mantissa.
            block[at + 1] = block[at + 1] & 0x83 | 0x2c;
        }
    }
    QuantMatrix::new(format, rows, cols, data).expect("sizes agree")
}

/// Where a block of `format` has its half-precision floats.
fn scales_of(format: Format) -> &'static [usize] {
    match format {
        Format::F32 => &[],
        Format::F16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4K => &[0, 2],
        Format::Q6K => &[208],
    }
}

/// Every kernel against the scalar definition. Returns the names of the kernels that ran.
pub(crate) fn kernels_agree() -> Vec<&'static str> {
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        for cols in WIDTHS.into_iter().filter(|cols| cols.is_multiple_of(format.block_len())) {
            for rows in [1, TILE_ROWS - 1, TILE_ROWS] {
                let matrix = random_matrix(format, rows, cols, 7 + cols as u64);
                for layout in [Layout::Pairs, Layout::Fours] {
                    let tiled = TiledMatrix::new(&matrix, layout);
                    let mut scratch = DecodedTile::for_matrix(&matrix, layout);
                    let decoded = scratch.load(&matrix, 0);
                    for tokens in TOKENS {
                        let x = activations(tokens, cols);
                        compare(decoded, &x);
                        if let Some(tiled) = &tiled {
                            compare(tiled.tile(0), &x);
                        }
                    }
                }
            }
        }
    }
    available().iter().map(|kernel| kernel.name()).collect()
}

/// Random ones, and in the first row the largest there are, all of one sign: sums come as near to their limits as they can.
fn activations(tokens: usize, cols: usize) -> QuantizedActivations {
    let mut x = random(tokens as u64, tokens * cols);
    x[..cols].fill(1.0);
    QuantizedActivations::new(&x, tokens, cols)
}

/// The largest and the smallest integers of each format, in all places, times the largest activations.
pub(crate) fn sums_stay_in_range() {
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        for byte in [0x00, 0xff, 0x80, 0x7f] {
            let cols = 512;
            let bytes = format.row_bytes(cols).expect("whole blocks") * TILE_ROWS;
            let mut data = vec![byte; bytes];
            for block in data.chunks_exact_mut(format.block_bytes()) {
                for at in scales_of(format) {
                    [block[*at], block[at + 1]] = [0, 0x3c];
                }
            }
            let matrix = QuantMatrix::new(format, TILE_ROWS, cols, data).expect("sizes agree");
            for sign in [1.0, -1.0] {
                let x = QuantizedActivations::new(&vec![sign; 4 * cols], 4, cols);
                for layout in [Layout::Pairs, Layout::Fours] {
                    let mut scratch = DecodedTile::for_matrix(&matrix, layout);
                    let decoded = scratch.load(&matrix, 0);
                    compare(decoded, &x);
                }
            }
        }
    }
}

/// The decoder of this build against the one that goes row by row, bit for bit.
pub(crate) fn decoders_agree() {
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        let matrix = random_matrix(format, 2 * TILE_ROWS + 3, 768, 21);
        for layout in [Layout::Pairs, Layout::Fours] {
            for first in [0, TILE_ROWS, 2 * TILE_ROWS] {
                let (mut one, mut other) =
                    (DecodedTile::for_matrix(&matrix, layout), DecodedTile::for_matrix(&matrix, layout));
                let (tile, expected) = (one.load(&matrix, first), other.load_by_rows(&matrix, first));
                let same = match (tile.quants, expected.quants) {
                    (Quants::Pairs(a), Quants::Pairs(b)) => a == b,
                    (Quants::Fours(a), Quants::Fours(b)) => a == b,
                    (Quants::Pairs(_), Quants::Fours(_)) | (Quants::Fours(_), Quants::Pairs(_)) => false,
                };
                assert!(same, "{format:?}, {layout:?}, from row {first}: the integers differ");
                assert_eq!(tile.scales, expected.scales, "{format:?}, {layout:?}");
                assert_eq!(tile.subscales, expected.subscales, "{format:?}, {layout:?}");
                assert_eq!(tile.minima, expected.minima, "{format:?}, {layout:?}");
            }
        }
    }
}

/// Rounded activations against their definition, one value at a time.
pub(crate) fn activations_are_rounded_as_defined() {
    let (rows, cols) = (3, 96);
    let mut x = random(17, rows * cols);
    x[40] = 1e-42;
    x[64..96].fill(0.0);
    x[96..128].iter_mut().for_each(|x| *x *= 1e-38);
    let rounded = QuantizedActivations::new(&x, rows, cols);
    for (index, block) in x.chunks_exact(32).enumerate() {
        let scale = block.iter().fold(0f32, |a, b| a.max(b.abs())) / 127.0;
        let inverse = if (1.0 / scale).is_finite() { 1.0 / scale } else { 0.0 };
        let quants: Vec<i32> = block.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
        assert_eq!(rounded.scales[index], scale);
        for (k, quant) in quants.iter().enumerate() {
            assert_eq!(i32::from(rounded.wide[32 * index + k]), *quant, "value {k} of block {index}");
            assert_eq!(i32::from(rounded.bytes[32 * index + k]), *quant, "value {k} of block {index}");
        }
        assert_eq!(rounded.sums[index], scale * quants.iter().sum::<i32>() as f32);
        for (part, columns) in [0..32, 0..16, 16..32].into_iter().enumerate() {
            for pair in 0..2 {
                let taken: i32 = columns.clone().filter(|k| k % 4 / 2 == pair).map(|k| -quants[k]).sum();
                assert_eq!(i32::from(rounded.corrections[index][part][pair]), taken, "block {index}");
            }
        }
    }
}

/// Every kernel on one tile.
fn compare(weights: Tile<'_>, x: &QuantizedActivations) {
    let mut expected = vec![[0.0; TILE_ROWS]; x.rows];
    Scalar.dot(weights, x, &mut expected);
    // The very bits: kernels add the same rounded products in the same order.
    let bits =
        |lanes: &[[f32; TILE_ROWS]]| lanes.as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for kernel in available() {
        let mut actual = vec![[f32::NAN; TILE_ROWS]; x.rows];
        kernel.dot(weights, x, &mut actual);
        assert!(
            bits(&actual) == bits(&expected),
            "{} on {:?}, {} columns, {} tokens: {actual:?}, scalar {expected:?}",
            kernel.name(),
            weights.format,
            x.cols,
            x.rows
        );
    }
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
            for layout in [Layout::Pairs, Layout::Fours] {
                let Some(tiled) = TiledMatrix::new(&matrix, layout) else { continue };
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
