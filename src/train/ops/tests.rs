//! Each operation against its plain form, and its backward pass against finite differences.

use candle_core::{Device, Result, Tensor, Var};

use super::*;

/// A tensor of numbers in -1..1.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u64).map(|i| 2.0 * math::uniform(seed, i) - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn to_vec(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A weighted sum of all elements, in double precision.
fn weighted(out: &Tensor, weights: &Tensor) -> f64 {
    to_vec(out).iter().zip(to_vec(weights)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

/// Compares the gradient of a weighted sum of `f`'s result with central differences, operand by operand, in every
/// element.
fn check(operands: &[Tensor], f: impl Fn(&[Tensor], &Sink) -> Result<Tensor>) {
    const STEP: f32 = 1.0 / 128.0;
    let vars: Vec<Var> = operands.iter().map(|operand| Var::from_tensor(operand).unwrap()).collect();
    let leaves: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let sink = Sink::default();
    let out = f(&leaves, &sink).unwrap();
    let weights = random(99, out.dims());
    let mut store = (&out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    for (number, leaf) in leaves.iter().enumerate() {
        let gradient = store.remove(leaf).or_else(|| sink.take(leaf));
        let gradient = to_vec(&gradient.unwrap_or_else(|| panic!("operand {number} has no gradient")));
        let values = to_vec(leaf);
        assert_eq!(gradient.len(), values.len());
        for i in 0..values.len() {
            let at = |change: f32| {
                let mut values = values.clone();
                values[i] += change;
                let mut operands = operands.to_vec();
                operands[number] = Tensor::from_vec(values, leaf.shape(), &Device::Cpu).unwrap();
                weighted(&f(&operands, &Sink::default()).unwrap(), &weights)
            };
            let expected = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            let error = (f64::from(gradient[i]) - expected).abs();
            assert!(
                error < 2e-3 * expected.abs().max(1.0),
                "operand {number}, element {i}: {} against {expected}",
                gradient[i]
            );
        }
    }
}

fn close(ours: &Tensor, plain: &Tensor, tolerance: f32) {
    assert_eq!(ours.dims(), plain.dims());
    for (i, (a, b)) in to_vec(ours).iter().zip(to_vec(plain)).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {i}: {a} against {b}");
    }
}

/// Lengths around one piece of work and one vector, a single token among them.
fn bounds() -> Bounds {
    Bounds::new([5, 1, 17, 3, 8])
}

#[test]
fn linear() {
    let operands = [random(1, &[35, 6]), random(2, &[5, 6]), random(3, &[5])];
    let f = |o: &[Tensor], sink: &Sink| {
        Linear { weight: o[1].clone(), bias: o[2].clone(), sink: sink.clone() }.apply(&o[0])
    };
    let [x, w, b] = &operands;
    let plain = x.matmul(&w.t().unwrap()).unwrap().broadcast_add(b).unwrap();
    close(&f(&operands, &Sink::default()).unwrap(), &plain, 1e-6);
    check(&operands, f);
    let wrong = [x.clone(), random(2, &[5, 7]), b.clone()];
    assert!(f(&wrong, &Sink::default()).is_err());
}

#[test]
fn layer_norm() {
    let operands = [random(1, &[35, 19]), random(2, &[19]), random(3, &[19])];
    let norm = |o: &[Tensor], sink: &Sink| LayerNorm {
        epsilon: 1e-5,
        scale: o[1].clone(),
        shift: o[2].clone(),
        sink: sink.clone(),
    };
    let one = |o: &[Tensor], sink: &Sink| norm(o, sink).apply(&o[0]);
    let [x, scale, shift] = &operands;
    let plain = |x: &Tensor| {
        let centred = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
        let deviation = (centred.sqr().unwrap().mean_keepdim(1).unwrap() + 1e-5).unwrap().sqrt().unwrap();
        let normal = centred.broadcast_div(&deviation).unwrap();
        normal.broadcast_mul(scale).unwrap().broadcast_add(shift).unwrap()
    };
    close(&one(&operands, &Sink::default()).unwrap(), &plain(x), 2e-6);
    check(&operands, one);
    let sum = |o: &[Tensor], sink: &Sink| norm(o, sink).apply_sum(&o[0], &o[3]);
    let operands = [x.clone(), scale.clone(), shift.clone(), random(4, &[35, 19])];
    close(&sum(&operands, &Sink::default()).unwrap(), &plain(&(x + &operands[3]).unwrap()), 2e-6);
    check(&operands, sum);
    let wrong = [x.clone(), random(2, &[18]), shift.clone()];
    assert!(one(&wrong, &Sink::default()).is_err());
}

#[test]
fn gelu() {
    let x = (random(1, &[7, 9]) * 4.0).unwrap();
    close(&Gelu::apply(&x).unwrap(), &x.gelu_erf().unwrap(), 1e-6);
    check(&[x], |o, _| Gelu::apply(&o[0]));
}

#[test]
fn dropout() {
    let dropout = Dropout { rate: 0.25, seed: 7 };
    let x = Tensor::ones((400, 50), candle_core::DType::F32, &Device::Cpu).unwrap();
    let kept = to_vec(&dropout.apply(&x).unwrap());
    let zeros = kept.iter().filter(|x| **x == 0.0).count();
    assert!(zeros.abs_diff(5_000) < 300, "{zeros}");
    assert!(kept.iter().all(|x| *x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(kept, to_vec(&dropout.apply(&x).unwrap()));
    let other = Dropout { seed: 8, ..dropout };
    assert_ne!(kept, to_vec(&other.apply(&x).unwrap()));
    assert_eq!(to_vec(&Dropout { rate: 0.0, seed: 7 }.apply(&x).unwrap()), to_vec(&x));
    check(&[random(1, &[7, 9])], |o, _| dropout.apply(&o[0]));
}

#[test]
fn embedding() {
    let bounds = Bounds::new([3, 1, 2]);
    let rows = [4u32, 0, 4, 2, 1, 4];
    let f = |o: &[Tensor], _: &Sink| {
        Embedding { rows: rows.into(), bounds: bounds.clone() }.apply(&o[0], &o[1], &o[2])
    };
    let operands = [random(1, &[5, 4]), random(2, &[3, 4]), random(3, &[2, 4])];
    let ids = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap();
    let words = operands[0].index_select(&ids(&rows), 0).unwrap();
    let positions = operands[1].index_select(&ids(&[0, 1, 2, 0, 0, 1]), 0).unwrap();
    let segment = operands[2].narrow(0, 0, 1).unwrap();
    let plain = (words + positions).unwrap().broadcast_add(&segment).unwrap();
    close(&f(&operands, &Sink::default()).unwrap(), &plain, 1e-6);
    check(&operands, f);
    let few = [random(1, &[4, 4]), random(2, &[3, 4]), random(3, &[2, 4])];
    assert!(f(&few, &Sink::default()).is_err(), "row 4 of 4");
    let short = [random(1, &[5, 4]), random(2, &[2, 4]), random(3, &[2, 4])];
    assert!(f(&short, &Sink::default()).is_err(), "position 2 of 2");
}

/// The plain form, message by message and head by head.
fn plain_attention(qkv: &Tensor, heads: usize, bounds: &Bounds) -> Tensor {
    let width = qkv.dim(1).unwrap() / 3;
    let d = width / heads;
    let messages: Vec<Tensor> = bounds
        .ranges()
        .map(|range| {
            let rows = qkv.narrow(0, range.start, range.len()).unwrap();
            let part = |part: usize, head: usize| rows.narrow(1, part * width + head * d, d).unwrap();
            let outs: Vec<Tensor> = (0..heads)
                .map(|head| {
                    let (q, k, v) = (part(0, head), part(1, head), part(2, head));
                    let scores =
                        q.contiguous().unwrap().matmul(&k.t().unwrap().contiguous().unwrap()).unwrap();
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let scores = (scores / (d as f64).sqrt()).unwrap();
                    let weights = crate::train::loss::log_softmax(&scores).unwrap().exp().unwrap();
                    weights.matmul(&v.contiguous().unwrap()).unwrap()
                })
                .collect();
            Tensor::cat(&outs, 1).unwrap()
        })
        .collect();
    Tensor::cat(&messages, 0).unwrap()
}

#[test]
fn attention() {
    let qkv = (random(1, &[34, 24]) * 2.0).unwrap();
    for rate in [0.0, 0.3] {
        let f = |o: &[Tensor], _: &Sink| {
            let dropout = Dropout { rate, seed: 5 };
            Attention { heads: 2, bounds: bounds(), dropout }.apply(&o[0])
        };
        let operands = [qkv.clone()];
        let out = f(&operands, &Sink::default()).unwrap();
        if rate == 0.0 {
            close(&out, &plain_attention(&qkv, 2, &bounds()), 2e-6);
        } else {
            assert_ne!(to_vec(&out), to_vec(&plain_attention(&qkv, 2, &bounds())));
        }
        check(&operands, f);
    }
    let attention = Attention { heads: 5, bounds: bounds(), dropout: Dropout { rate: 0.0, seed: 0 } };
    assert!(attention.apply(&qkv).is_err(), "5 heads do not divide 8");
}

#[test]
fn gradients_of_one_parameter_add_up() {
    let sink = Sink::default();
    let parameter = random(1, &[3]);
    sink.add(&parameter, random(2, &[3])).unwrap();
    sink.add(&parameter, random(3, &[3])).unwrap();
    close(&sink.take(&parameter).unwrap(), &(random(2, &[3]) + random(3, &[3])).unwrap(), 1e-6);
    assert!(sink.take(&parameter).is_none());
}
