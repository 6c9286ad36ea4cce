//! What lies between the quantized products, against its definition in doubles.

use relayops_intent::backend::cpu::{Cpu, Tensor, math};
use relayops_intent::backend::{Backend, Heads, RopeTable, Visible};

use super::random;

/// Of the 0.5B, the 1.5B and compact, and odd ones.
const HEADS: [Heads; 4] = [
    Heads { query: 14, kv: 2, dim: 64 },
    Heads { query: 12, kv: 2, dim: 128 },
    Heads { query: 12, kv: 12, dim: 32 },
    Heads { query: 3, kv: 1, dim: 6 },
];

/// Widths of rows: with every tail of a vector, and the models'.
const WIDTHS: [usize; 9] = [1, 7, 8, 13, 32, 384, 896, 1536, 8960];

fn tensor(rows: usize, cols: usize, values: &[f32]) -> Tensor {
    Cpu::default().tensor(rows, cols, values.to_vec().into()).expect("sizes agree")
}

fn read(x: &Tensor) -> Vec<f32> {
    let cpu = Cpu::default();
    let taken = cpu.read(x).and_then(|mut reading| cpu.take(&mut reading)).and_then(|taken| taken.now());
    taken.expect("a processor answers at once").into()
}

/// Numbers of about `size`.
fn scaled(seed: u64, count: usize, size: f32) -> Vec<f32> {
    random(seed, count).iter().map(|x| size * x).collect()
}

/// Differences up to `tolerance` times the largest expected value.
fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-30, |a: f64, b| a.max(b.abs()));
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        let off = (f64::from(*a) - b).abs();
        assert!(off <= tolerance * size, "{what}: value {index} is {a}, expected {b}, of at most {size}");
    }
}

/// Many values of both signs, small and large.
fn samples() -> impl Iterator<Item = f32> {
    (-40_000..=40_000).map(|i| i as f32 / 2_000.0)
}

/// To 2e-7 of their size.
pub(crate) fn exponentials() {
    for x in samples().map(|x| 4.3 * x) {
        let expected = f64::from(x).exp();
        let error = (f64::from(math::exp(x)) - expected).abs() / expected;
        assert!(error <= 2e-7, "exp({x}) is off by {error} of its size");
    }
    assert_eq!(math::exp(0.0), 1.0);
    assert_eq!(math::exp(-1e30), math::exp(-87.0));
    assert!(math::exp(-87.0) > 0.0 && math::exp(88.0).is_finite() && math::exp(1e30).is_finite());
    assert!(math::exp(f32::NAN).is_nan());
}

/// The error function to 5e-7, GELU to 3e-7 and SiLU to 5e-7 of the argument.
pub(crate) fn activation_functions() {
    let (all, erf): (Vec<f32>, _) = (samples().collect(), statrs::function::erf::erf);
    let mut gelu = tensor(1, all.len(), &all);
    Cpu::default().gelu(&mut gelu);
    let up = scaled(23, all.len(), 3.0);
    let mut silu = tensor(1, all.len(), &all);
    Cpu::default().silu_mul(&mut silu, &tensor(1, all.len(), &up));
    let (gelu, silu) = (read(&gelu), read(&silu));
    for (index, x) in all.into_iter().enumerate() {
        let wide = f64::from(x);
        assert!((f64::from(math::erf(x).0) - erf(wide)).abs() <= 5e-7, "erf({x})");
        let expected = wide / 2.0 * (1.0 + erf(wide / 2f64.sqrt()));
        let error = (f64::from(gelu[index]) - expected).abs();
        assert!(error <= 3e-7 * wide.abs().max(1e-3), "gelu({x}) is off by {error}");
        let expected = wide / (1.0 + (-wide).exp()) * f64::from(up[index]);
        let error = (f64::from(silu[index]) - expected).abs();
        assert!(error <= 5e-7 * (wide * f64::from(up[index])).abs().max(1e-9), "silu({x}) is off by {error}");
    }
    assert!(math::gelu(f32::NAN).is_nan());
    let mut silu = tensor(1, 1, &[f32::NAN]);
    Cpu::default().silu_mul(&mut silu, &tensor(1, 1, &[1.0]));
    assert!(read(&silu)[0].is_nan());
}

/// Both norms, to 2e-6 of the largest value; small rows, where epsilon counts, and large ones.
pub(crate) fn norms() {
    let (cpu, eps) = (Cpu::default(), 1e-6f32);
    for width in WIDTHS {
        for (rows, size) in [(1, 1.0), (3, 1e-4), (5, 300.0)] {
            let x = scaled(width as u64, rows * width, size);
            let (weight, bias) = (random(2, width), random(3, width));
            let row = |row: &[f32], centred: bool| -> Vec<f64> {
                let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
                let count = row.len() as f64;
                let mean = if centred { row.iter().sum::<f64>() / count } else { 0.0 };
                let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                let scale = 1.0 / (square + f64::from(eps)).sqrt();
                row.iter().zip(&weight).map(|(x, w)| (x - mean) * scale * f64::from(*w)).collect()
            };
            let what = format!("{rows} rows of {width}, of about {size}");
            let input = tensor(rows, width, &x);
            let rms: Vec<f64> = x.chunks_exact(width).flat_map(|x| row(x, false)).collect();
            assert_close(&read(&cpu.rms_norm(&input, &weight, eps)), &rms, 2e-6, &format!("RMSNorm, {what}"));
            let centred = x.chunks_exact(width).flat_map(|x| row(x, true));
            let layer: Vec<f64> =
                centred.enumerate().map(|(at, value)| value + f64::from(bias[at % width])).collect();
            let normed = cpu.layer_norm(&input, &weight, &bias, eps);
            assert_close(&read(&normed), &layer, 2e-6, &format!("LayerNorm, {what}"));
        }
    }
}

/// Value `i` of a head with value `i + dim / 2`, to 3e-7 of the largest value.
pub(crate) fn rotations() {
    let cpu = Cpu::default();
    let positions = [0, 1, 5, 93, 700, 93, 32_000];
    for Heads { query, dim, .. } in HEADS {
        let cols = query * dim;
        let x = random(5, positions.len() * cols);
        let mut expected = Vec::new();
        for (row, position) in x.chunks_exact(cols).zip(positions) {
            for head in row.chunks_exact(dim) {
                let turned = |at: usize| {
                    let i = at % (dim / 2);
                    let angle = position as f64 * 1e6f64.powf(-2.0 * i as f64 / dim as f64);
                    let (a, b) = (f64::from(head[i]), f64::from(head[i + dim / 2]));
                    if at == i {
                        a * angle.cos() - b * angle.sin()
                    } else {
                        b * angle.cos() + a * angle.sin()
                    }
                };
                expected.extend((0..dim).map(turned));
            }
        }
        let mut turned = tensor(positions.len(), cols, &x);
        let angles = cpu.angles(RopeTable::new(&positions, dim, 1e6)).expect("there is room");
        cpu.rope(&mut turned, &angles);
        assert_close(&read(&turned), &expected, 3e-7, &format!("{query} heads of {dim}"));
    }
}

/// A sequence behind a prefix, a tree behind that, and everything seen by everyone.
fn masks(before: usize, rows: usize) -> [Visible; 3] {
    let mut tree = Visible::default();
    (0..rows).for_each(|row| tree.push([0..before, before + row..before + row + 1]));
    let sequence = (0..rows).map(|row| 0..before + row + 1);
    [sequence.collect(), tree, std::iter::repeat_n(0..before + rows, rows).collect()]
}

/// `softmax(q k / sqrt(dim)) v` of one head over `slots`; `keys` and `values` hold `[kv heads * dim]` a slot, of which the
/// head's begin at `offset`.
fn head_attention(
    q: &[f32],
    [keys, values]: [&[f32]; 2],
    (stride, offset): (usize, usize),
    slots: impl Iterator<Item = usize> + Clone,
) -> Vec<f64> {
    let dim = q.len();
    let at = |cache: &[f32], slot: usize, i: usize| f64::from(cache[slot * stride + offset + i]);
    let score = |slot| {
        let products = (0..dim).map(|i| f64::from(q[i]) * at(keys, slot, i));
        products.sum::<f64>() / (dim as f64).sqrt()
    };
    let scores: Vec<f64> = slots.clone().map(score).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..dim)
        .map(|i| slots.clone().zip(&weights).map(|(slot, w)| w / sum * at(values, slot, i)).sum())
        .collect()
}

/// To 3e-6 of the largest value.
pub(crate) fn attention() {
    let cpu = Cpu::default();
    for heads in HEADS {
        let (width, kv_width) = (heads.query * heads.dim, heads.kv * heads.dim);
        for (before, rows) in [(0, 1), (0, 40), (63, 2), (93, 25), (600, 3)] {
            let slots = before + rows;
            let (keys, values) = (random(3, slots * kv_width), random(4, slots * kv_width));
            // Large enough for some slots to weigh much and others next to nothing.
            let q = scaled(5, rows * width, 8.0);
            let mut layer = cpu.kv_layer();
            let at = before * kv_width;
            for (rows, part) in [(before, 0..at), (rows, at..slots * kv_width)] {
                let [k, v] = [&keys, &values].map(|all| tensor(rows, kv_width, &all[part.clone()]));
                cpu.kv_append(&mut layer, &k, &v).expect("there is room");
            }
            for mask in masks(before, rows) {
                let head = |(index, q): (usize, &[f32])| {
                    let offset = index % heads.query / (heads.query / heads.kv) * heads.dim;
                    let seen = mask.row(index / heads.query).iter().cloned().flatten();
                    head_attention(q, [&keys, &values], (kv_width, offset), seen)
                };
                let expected: Vec<f64> = q.chunks_exact(heads.dim).enumerate().flat_map(head).collect();
                let attended = cpu.attention(&tensor(rows, width, &q), &layer, &mask, heads);
                assert_close(
                    &read(&attended),
                    &expected,
                    3e-6,
                    &format!("{heads:?}, {rows} behind {before}"),
                );
            }
        }
    }
}

/// Numbers of both signs, small enough that sums are exact.
fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 17) as f32 - 8.0).collect()
}

/// Exactly: few rows and many, ranks that fill no vector, widths of the 0.5B.
pub(crate) fn low_rank_paths() {
    let cpu = Cpu::default();
    for (rank, width, out, rows) in
        [(1, 3, 2, 1), (4, 8, 5, 2), (6, 32, 33, 3), (16, 64, 48, 300), (16, 896, 128, 25), (5, 384, 96, 40)]
    {
        let (a, b) = (numbers(rank * width, 5), numbers(out * rank, 7));
        let (x, start) = (numbers(rows * width, 3), numbers(rows * out, 11));
        let path = cpu.low_rank(rank, &a, &b, 0.5).expect("sizes agree");
        let mut y = tensor(rows, out, &start);
        cpu.add_low_rank(&mut y, &tensor(rows, width, &x), &path);
        let y = read(&y);
        for row in 0..rows {
            let product = |r: usize| {
                let terms = (0..width).map(|k| f64::from(x[row * width + k]) * f64::from(a[r * width + k]));
                terms.sum::<f64>()
            };
            let inner: Vec<f64> = (0..rank).map(product).collect();
            for column in 0..out {
                let added: f64 = inner.iter().zip(&b[column * rank..]).map(|(x, b)| x * f64::from(*b)).sum();
                let expected = f64::from(start[row * out + column]) + 0.5 * added;
                let what = format!("rank {rank}, row {row}, column {column}");
                assert_eq!(f64::from(y[row * out + column]), expected, "{what}");
            }
        }
    }
}
