//! Gradients against finite differences, and of one set of operations against the other's.

use candle_core::{DType, Tensor};
use relayops_intent::adapter::Projection;
use relayops_intent::train::Weights;
use relayops_intent::train::lora::{Example, Parted};
use relayops_intent::train::qwen2::{Keep, Noise, Paths};

use super::tiny::{self, Case};

const NOISES: [Noise; 2] = [Noise::OFF, Noise { rate: 0.2, seed: 7 }];

/// Loss and gradients of all messages in one batch.
fn gradients(case: &Case, weights: &Weights, noise: Noise, keep: Keep) -> (f64, Weights) {
    let messages: Vec<&Example> = case.messages.iter().collect();
    let matters = |Parted { example, parting }: Parted| case.examples.matters(messages[example], parting);
    let (batch, parted) = case.examples.batch(&messages, matters);
    let (hidden, trace) = case.network.forward(weights, &batch, noise, keep).unwrap();
    let loss = case.examples.loss(&hidden, &parted, &messages, 1.0).unwrap();
    if keep == Keep::Nothing {
        assert!(case.network.backward(weights, &batch, noise, trace, &loss.gradient).is_err());
        return (loss.sum, Weights::new());
    }
    (loss.sum, case.network.backward(weights, &batch, noise, trace, &loss.gradient).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Some elements of each matrix, both ends among them.
fn probes(count: usize) -> Vec<usize> {
    let mut probes = vec![0, count - 1];
    probes.extend((1..5).map(|i| i * count / 5 + i));
    probes.retain(|probe| *probe < count);
    probes
}

fn check_by_differences(paths: Paths, smoothing: f64, noise: Noise) {
    const STEP: f64 = 1e-4;
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::file(folder.path(), &tiny::model());
    let case = tiny::case(&path, paths, true, smoothing);
    let weights = tiny::weights(&case.network, DType::F64);
    let (_, found) = gradients(&case, &weights, noise, Keep::Everything);
    assert_eq!(found.keys().collect::<Vec<_>>(), weights.keys().collect::<Vec<_>>());
    let mut largest = 0f64;
    for (name, tensor) in &weights {
        let (numbers, gradient) = (values(tensor), values(&found[name]));
        assert_eq!(numbers.len(), gradient.len());
        for probe in probes(numbers.len()) {
            let at = |change: f64| {
                let mut numbers = numbers.clone();
                numbers[probe] += change;
                let mut weights = weights.clone();
                weights.insert(
                    name.clone(),
                    Tensor::from_vec(numbers, tensor.shape(), tensor.device()).unwrap(),
                );
                gradients(&case, &weights, noise, Keep::Nothing).0
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (gradient[probe] - expected).abs();
            // Both the step's square and rounding over the step are below 1e-7.
            assert!(
                error < 1e-6 * expected.abs().max(1.0),
                "{name}[{probe}]: {} against {expected}",
                gradient[probe]
            );
            largest = largest.max(expected.abs());
        }
    }
    assert!(largest > 1e-2, "all gradients are small: {largest}");
}

#[test]
fn gradients_are_finite_differences() {
    for noise in NOISES {
        check_by_differences(tiny::all(3), 0.0, noise);
    }
}

#[test]
fn gradients_of_some_paths_and_smoothed_labels_are_finite_differences() {
    let projections = vec![Projection::Query, Projection::Value, Projection::Up, Projection::Down];
    check_by_differences(Paths { rank: 2, scale: 0.7, projections, first_layer: 1 }, 0.1, Noise::OFF);
}

#[test]
fn fused_gradients_are_those_in_double_precision() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::file(folder.path(), &tiny::model());
    let some = Paths { projections: vec![Projection::Key, Projection::Gate], first_layer: 1, ..tiny::all(2) };
    for (paths, smoothing) in [(tiny::all(4), 0.0), (some, 0.2)] {
        for noise in NOISES {
            let [(fused_loss, fused), (exact_loss, exact)] = [false, true].map(|exact| {
                let case = tiny::case(&path, paths.clone(), exact, smoothing);
                let weights = tiny::weights(&case.network, if exact { DType::F64 } else { DType::F32 });
                gradients(&case, &weights, noise, Keep::Everything)
            });
            assert!((fused_loss - exact_loss).abs() < 1e-4, "{fused_loss} {exact_loss}");
            assert_eq!(fused.len(), exact.len());
            for (name, exact) in &exact {
                let (fused, exact) = (values(&fused[name]), values(exact));
                let size = exact.iter().fold(0f64, |size, g| size.max(g.abs()));
                for (a, b) in fused.iter().zip(&exact) {
                    assert!((a - b).abs() <= 2e-4 * size, "{name}: {a} against {b} of {size}");
                }
            }
        }
    }
}

#[test]
fn checkpointed_gradients_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::file(folder.path(), &tiny::model());
    let case = tiny::case(&path, tiny::all(4), false, 0.0);
    let weights = tiny::weights(&case.network, DType::F32);
    for noise in NOISES {
        let [kept, again] =
            [Keep::Everything, Keep::Operands].map(|keep| gradients(&case, &weights, noise, keep).1);
        assert_eq!(kept.len(), again.len());
        for (name, kept) in &kept {
            assert_eq!(values(kept), values(&again[name]), "{name}");
        }
    }
}

#[test]
fn a_batch_is_the_sum_of_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::file(folder.path(), &tiny::model());
    let mut case = tiny::case(&path, tiny::all(4), true, 0.0);
    let weights = tiny::weights(&case.network, DType::F64);
    let (loss, together) = gradients(&case, &weights, Noise::OFF, Keep::Everything);
    let messages = std::mem::take(&mut case.messages);
    let (mut sum, mut sums) = (0.0, Weights::new());
    for message in messages {
        case.messages = vec![message];
        let (loss, one) = gradients(&case, &weights, Noise::OFF, Keep::Everything);
        sum += loss;
        for (name, gradient) in one {
            let total =
                sums.remove(&name).map_or(Ok(gradient.clone()), |sum: Tensor| sum + &gradient).unwrap();
            sums.insert(name, total);
        }
    }
    assert!((loss - sum).abs() < 1e-9, "{loss} {sum}");
    for (name, together) in &together {
        for (a, b) in values(together).iter().zip(values(&sums[name])) {
            assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{name}: {a} against {b}");
        }
    }
}
