//! Every shader against its definition on the CPU, at the models' shapes and odd ones; run natively by `tests/gpu` and in
//! Chromium by `tests/wasm`, where values can't be waited for.

use relayops_intent::backend::cpu::Cpu;
use relayops_intent::backend::gpu::Gpu;
use relayops_intent::backend::{Backend, Heads, RopeTable, Taken, Visible};
use relayops_intent::quant::{Format, QuantMatrix};

use super::kernel_suite::{random, random_matrix};

/// Hands the names of all checks to a macro.
macro_rules! each_check {
    ($run:ident) => {
        $run! {
            products_are_their_formats,
            the_smallest_scales_count,
            low_rank_paths_are_two_products,
            norms,
            single_values,
            values_beyond_a_line_of_workgroups,
            rotation,
            attention_over_a_cache,
            a_cache_keeps_what_it_holds,
            what_cannot_be_taken_over_is_refused,
        }
    };
}
pub(crate) use each_check;

/// Of the 0.5B, the 1.5B and compact; an odd one, and wider ones than those of any of them.
const HEADS: [Heads; 6] = [
    Heads { query: 14, kv: 2, dim: 64 },
    Heads { query: 12, kv: 2, dim: 128 },
    Heads { query: 12, kv: 12, dim: 32 },
    Heads { query: 3, kv: 1, dim: 6 },
    Heads { query: 2, kv: 1, dim: 256 },
    Heads { query: 2, kv: 2, dim: 200 },
];

async fn read<B: Backend>(backend: &B, x: &B::Tensor) -> Vec<f32> {
    let mut reading = backend.read(x).expect("nothing went wrong");
    loop {
        match backend.take(&mut reading).expect("nothing went wrong") {
            Taken::Values(values) => return values.into(),
            Taken::Later(signal) => signal.await,
        }
    }
}

fn upload<B: Backend>(backend: &B, rows: usize, cols: usize, values: &[f32]) -> B::Tensor {
    backend.tensor(rows, cols, values.to_vec().into()).expect("sizes agree")
}

fn vector<B: Backend>(backend: &B, values: &[f32]) -> B::Vector {
    backend.vector(values.to_vec()).expect("there is room")
}

/// Differences up to `tolerance` times the largest expected value, or a thousandth where all are smaller than that.
fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * size,
            "{what}: value {index} is {a}, expected {b}, of at most {size}"
        );
    }
}

/// Runs the same expression on both backends and compares.
macro_rules! both {
    ($gpu:expr, $what:expr, $tolerance:expr, |$b:ident| $body:expr) => {{
        let actual = {
            let $b = $gpu;
            $body
        };
        let cpu = Cpu::exact();
        let expected = {
            let $b = &cpu;
            $body
        };
        assert_close(&actual, &expected, $tolerance, $what);
    }};
}

/// The product with each weight as its format defines it, in doubles; and what rounding may make of it: every one of `cols`
/// sums rounds by half a unit in the last place of at most the sum of absolutes.
fn exact_product(x: &[f32], rows: usize, w: &QuantMatrix) -> Vec<(f64, f64)> {
    let cols = w.cols();
    let mut out = vec![(0.0, 0.0); rows * w.rows()];
    let mut row = vec![0.0; cols];
    for n in 0..w.rows() {
        w.dequantize_row(n, &mut row);
        for m in 0..rows {
            let products =
                || row.iter().zip(&x[m * cols..][..cols]).map(|(w, x)| f64::from(*w) * f64::from(*x));
            out[m * w.rows() + n] = (products().sum(), products().map(f64::abs).sum());
        }
    }
    out
}

/// Outputs and widths of the models' matrices (the 0.5B's, some of the 1.5B's, compact's), with rows, and tails of
/// everything: rows and outputs that fill no tile, a width that is half a block.
fn product_shapes(format: Format) -> impl Iterator<Item = (usize, usize, usize)> {
    let blocks = [
        (896, 896, 25),
        (128, 896, 33),
        (4864, 896, 8),
        (256, 1536, 32),
        (1536, 384, 20),
        (384, 1536, 3),
        (384, 384, 9),
        (8960, 1536, 1),
        (6, 384, 1),
        (31, 96, 31),
        (1, 32, 64),
        (33, 160, 65),
    ];
    let superblocks = [(896, 4864, 25), (1536, 8960, 2), (33, 256, 5), (31, 768, 33), (1, 1536, 1)];
    let extra: &[_] = if format.is_float() { &[(40, 16, 40), (5, 4, 3)] } else { &[] };
    let all = blocks.into_iter().chain(superblocks).chain(extra.iter().copied());
    all.filter(move |(_, width, _)| width % format.block_len() == 0)
}

pub(crate) async fn products_are_their_formats(gpu: &Gpu) {
    for format in Format::ALL {
        for (outs, width, rows) in product_shapes(format) {
            let w = random_matrix(format, outs, width, 7 + width as u64);
            let x = random(rows as u64, rows * width);
            let bias = random(3, outs);
            let expected = exact_product(&x, rows, &w);
            let on_device = gpu.matrix(w).expect("there is room");
            let x = upload(gpu, rows, width, &x);
            let plain = read(gpu, &gpu.linear(&x, &on_device, None)).await;
            let biased = read(gpu, &gpu.linear(&x, &on_device, Some(&vector(gpu, &bias)))).await;
            for (index, (product, size)) in expected.into_iter().enumerate() {
                let allowed = 1e-6 * size + 1e-6;
                let off = (f64::from(plain[index]) - product).abs();
                assert!(
                    off <= allowed,
                    "{format:?} [{outs}, {width}], {rows} rows, value {index}: {} is off by {off}",
                    plain[index]
                );
                let off = (f64::from(biased[index]) - product - f64::from(bias[index % outs])).abs();
                assert!(off <= allowed, "{format:?} with bias: off by {off}");
            }
        }
    }
}

/// Scales so small that they are halves without a leading one, which some devices take for zero.
pub(crate) async fn the_smallest_scales_count(gpu: &Gpu) {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        let mut data = vec![0x11; format.row_bytes(256).expect("whole blocks")];
        for block in data.chunks_exact_mut(format.block_bytes()) {
            let scale = if format == Format::Q6K { 208 } else { 0 };
            [block[scale], block[scale + 1]] = [0x01, 0x01];
            if format == Format::Q4K {
                [block[2], block[3]] = [0, 0];
            }
        }
        let matrix = QuantMatrix::new(format, 1, 256, data).expect("sizes agree");
        let mut row = vec![0.0; 256];
        matrix.dequantize_row(0, &mut row);
        let x = upload(gpu, 1, 256, &[1e4; 256]);
        let product = read(gpu, &gpu.linear(&x, &gpu.matrix(matrix).expect("there is room"), None)).await;
        let expected = 1e4 * row.iter().sum::<f32>();
        assert!(
            expected != 0.0 && (product[0] / expected - 1.0).abs() < 1e-5,
            "{format:?}: {product:?}, {expected}"
        );
    }
}

pub(crate) async fn low_rank_paths_are_two_products(gpu: &Gpu) {
    for (rank, width, out, rows) in [(1, 32, 33, 1), (6, 96, 128, 7), (8, 896, 128, 25), (16, 896, 4864, 33)]
    {
        let (a, b) = (random(1, rank * width), random(2, out * rank));
        let (x, y) = (random(3, rows * width), random(4, rows * out));
        both!(gpu, "low_rank", 1e-5, |backend| {
            let path = backend.low_rank(rank, &a, &b, 0.5).expect("sizes agree");
            let mut y = upload(backend, rows, out, &y);
            backend.add_low_rank(&mut y, &upload(backend, rows, width, &x), &path);
            read(backend, &y).await
        });
    }
}

pub(crate) async fn norms(gpu: &Gpu) {
    for (rows, cols) in [(25, 896), (3, 1536), (40, 384), (1, 32), (2, 33)] {
        let (x, weight, bias) = (random(1, rows * cols), random(2, cols), random(3, cols));
        both!(gpu, "rms_norm", 2e-6, |b| {
            let x = upload(b, rows, cols, &x);
            read(b, &b.rms_norm(&x, &vector(b, &weight), 1e-6)).await
        });
        both!(gpu, "layer_norm", 2e-6, |b| {
            let x = upload(b, rows, cols, &x);
            read(b, &b.layer_norm(&x, &vector(b, &weight), &vector(b, &bias), 1e-12)).await
        });
    }
}

pub(crate) async fn single_values(gpu: &Gpu) {
    for (rows, cols) in [(25, 4864), (33, 8960), (7, 1536), (1, 1), (3, 21)] {
        check_single_values(gpu, rows, cols).await;
    }
}

async fn check_single_values(gpu: &Gpu, rows: usize, cols: usize) {
    // To 20 on both sides, and far beyond it.
    let mut x: Vec<f32> = random(1, rows * cols).iter().map(|x| 20.0 * x).collect();
    x[0] = -1e4;
    let y = random(2, rows * cols);
    both!(gpu, "silu_mul", 1e-6, |b| {
        let mut x = upload(b, rows, cols, &x);
        b.silu_mul(&mut x, &upload(b, rows, cols, &y));
        read(b, &x).await
    });
    x[0] = 0.0;
    both!(gpu, "gelu", 1e-6, |b| {
        let mut x = upload(b, rows, cols, &x);
        b.gelu(&mut x);
        read(b, &x).await
    });
    both!(gpu, "add", 1e-7, |b| {
        let mut x = upload(b, rows, cols, &x);
        b.add(&mut x, &upload(b, rows, cols, &y));
        read(b, &x).await
    });
    both!(gpu, "mean_rows", 1e-6, |b| read(b, &b.mean_rows(&upload(b, rows, cols, &x))).await);
    let chosen = [rows - 1, 0, rows / 2, rows - 1];
    both!(gpu, "select_rows", 0.0, |b| read(b, &b.select_rows(&upload(b, rows, cols, &x), &chosen)).await);
    both!(gpu, "select_rows, none", 0.0, |b| read(b, &b.select_rows(&upload(b, rows, cols, &x), &[])).await);
}

/// 65,535 workgroups of 64 threads are the most in a line: more values than that take several.
pub(crate) async fn values_beyond_a_line_of_workgroups(gpu: &Gpu) {
    let most = 65_535 * 64;
    for (rows, cols) in [(1, most), (1, most + 1), (1_025, 4_100)] {
        check_single_values(gpu, rows, cols).await;
    }
    let heads = Heads { query: 64, kv: 64, dim: 64 };
    let (rows, width) = (2_050, heads.query * heads.dim);
    let positions: Vec<usize> = (0..rows).collect();
    let x = random(5, rows * width);
    both!(gpu, "rotation", 1e-6, |b| {
        let mut x = upload(b, rows, width, &x);
        b.rope(&mut x, &b.angles(RopeTable::new(&positions, heads.dim, 1e6)).expect("there is room"));
        read(b, &x).await
    });
    // Whoever sees one slot alone gets its values.
    let seen = rows - 1;
    both!(gpu, "copies", 1e-6, |b| {
        let mut layer = b.kv_layer();
        let new = upload(b, rows, width, &x);
        b.kv_append(&mut layer, &new, &new).expect("there is room");
        let mask = b.mask(std::iter::once(seen..seen + 1).collect()).expect("there is room");
        read(b, &b.attention(&upload(b, 1, width, &x[..width]), &layer, &mask, heads)).await
    });
}

pub(crate) async fn rotation(gpu: &Gpu) {
    for heads in HEADS {
        let positions = [0, 1, 5, 93, 700, 93];
        let cols = heads.query * heads.dim;
        let x = random(5, positions.len() * cols);
        both!(gpu, "rotation", 1e-6, |b| {
            let mut x = upload(b, positions.len(), cols, &x);
            b.rope(&mut x, &b.angles(RopeTable::new(&positions, heads.dim, 1e6)).expect("there is room"));
            read(b, &x).await
        });
    }
}

/// A prefix, a message behind it, and a tree behind that, as the scorer has them; and everything seen by everyone.
fn masks(before: usize, rows: usize) -> [Visible; 3] {
    let causal = (0..rows).map(|row| 0..before + row + 1);
    let mut tree = Visible::default();
    (0..rows).for_each(|row| tree.push([0..before, before + row..before + row + 1]));
    [causal.collect(), tree, std::iter::repeat_n(0..before + rows, rows).collect()]
}

/// Adds `count` slots with these keys and values.
fn append<B: Backend>(backend: &B, layer: &mut B::KvLayer, count: usize, width: usize, [k, v]: [&[f32]; 2]) {
    let (k, v) = (upload(backend, count, width, k), upload(backend, count, width, v));
    backend.kv_append(layer, &k, &v).expect("there is room");
}

pub(crate) async fn attention_over_a_cache(gpu: &Gpu) {
    for heads in HEADS {
        let (width, kv_width) = (heads.query * heads.dim, heads.kv * heads.dim);
        for (before, rows) in [(0, 1), (0, 40), (63, 2), (93, 25), (200, 65), (600, 3)] {
            let old = [random(1, before * kv_width), random(2, before * kv_width)];
            let new = [random(3, rows * kv_width), random(4, rows * kv_width)];
            let q: Vec<f32> = random(5, rows * width).iter().map(|q| 4.0 * q).collect();
            for mask in masks(before, rows) {
                both!(gpu, "attention_over_a_cache", 3e-6, |b| {
                    let mut layer = b.kv_layer();
                    append(b, &mut layer, before, kv_width, [&old[0], &old[1]]);
                    append(b, &mut layer, rows, kv_width, [&new[0], &new[1]]);
                    let q = upload(b, rows, width, &q);
                    let mask = b.mask(mask.clone()).expect("there is room");
                    read(b, &b.attention(&q, &layer, &mask, heads)).await
                });
            }
        }
    }
}

/// A cache that grows past its room, is cut back, gives room back and grows again.
pub(crate) async fn a_cache_keeps_what_it_holds(gpu: &Gpu) {
    let heads = HEADS[0];
    let (width, kv_width) = (heads.query * heads.dim, heads.kv * heads.dim);
    let q = random(5, width);
    both!(gpu, "a_cache_keeps_what_it_holds", 3e-6, |b| {
        let mut layer = b.kv_layer();
        let mut all = Vec::new();
        let mut slots = 0;
        for (seed, (keep, rows)) in
            [(0, 90), (90, 30), (90, 200), (290, 700), (90, 30), (100, 1), (0, 12)].into_iter().enumerate()
        {
            b.kv_truncate(&mut layer, keep, heads);
            let new = |seed| random(seed, rows * kv_width);
            append(b, &mut layer, rows, kv_width, [&new(seed as u64), &new(100 + seed as u64)]);
            slots = keep.min(slots) + rows;
            let mask = b.mask(std::iter::once(0..slots).collect()).expect("there is room");
            all.extend(read(b, &b.attention(&upload(b, 1, width, &q), &layer, &mask, heads)).await);
        }
        all
    });
}

pub(crate) async fn what_cannot_be_taken_over_is_refused(gpu: &Gpu) {
    let code = |error: Option<relayops_intent::IntentError>| error.map(|error| error.code());
    assert_eq!(code(gpu.tensor(2, 3, vec![0.0; 5].into()).err()), Some("invalid_argument"));
    assert_eq!(code(gpu.low_rank(4, &[0.0; 6], &[0.0; 8], 1.0).err()), Some("invalid_argument"));
    // Sound, and for another backend.
    let odd = QuantMatrix::from_f32(2, 3, &[0.0; 6]).expect("sizes agree");
    assert_eq!(code(gpu.matrix(odd).err()), Some("unavailable"));
    // The embedding of the 0.5B, whose rows the host gathers: more than the 128 MiB that a binding has everywhere.
    let (rows, cols) = (151_936, 896);
    let bytes = vec![0; rows * Format::Q8_0.row_bytes(cols).expect("whole blocks")];
    let large = QuantMatrix::new(Format::Q8_0, rows, cols, bytes).expect("sizes agree");
    let error = gpu.matrix(large).err();
    let said = error.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(code(error), Some("out_of_memory"));
    assert!(said.contains("in one binding of the GPU"), "{said}");
}
