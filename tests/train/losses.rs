//! Losses against their formulas, written out in loops.

use candle_core::{Device, Tensor, Var};
use relayops_intent::train::loss::{contrastive, cross_entropy, distillation, divergence};

use super::tiny::random;

fn value(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f32>> = tensor.to_vec2().unwrap();
    rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x - sum.ln()).collect()
}

#[test]
fn smoothed_cross_entropy() {
    let logits = random(1, &[5, 6], 3.0);
    let targets = [0, 5, 2, 2, 1];
    for smoothing in [0.0, 0.05] {
        let per_row = rows(&logits).into_iter().zip(targets).map(|(row, target)| {
            let log = log_softmax(&row);
            -(1.0 - smoothing) * log[target] - smoothing / 6.0 * log.iter().sum::<f64>()
        });
        let expected = per_row.sum::<f64>() / 5.0;
        let found = value(&cross_entropy(&logits, &targets, smoothing).unwrap());
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert!(cross_entropy(&logits, &[6, 0, 0, 0, 0], 0.0).is_err());
}

fn plain_contrastive(embeddings: &[Vec<f64>], targets: &[usize], temperature: f64) -> f64 {
    let unit: Vec<Vec<f64>> = embeddings
        .iter()
        .map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / length).collect()
        })
        .collect();
    let score = |i: usize, j: usize| -> f64 {
        (unit[i].iter().zip(&unit[j]).map(|(a, b)| a * b).sum::<f64>() / temperature).exp()
    };
    let others = |i: usize| (0..targets.len()).filter(move |j| *j != i);
    let anchor = |i: usize| {
        let all: f64 = others(i).map(|j| score(i, j)).sum();
        let positives: Vec<usize> = others(i).filter(|j| targets[*j] == targets[i]).collect();
        let sum: f64 = positives.iter().map(|j| -(score(i, *j) / all).ln()).sum();
        (!positives.is_empty()).then(|| sum / positives.len() as f64)
    };
    let losses: Vec<f64> = (0..targets.len()).filter_map(anchor).collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn supervised_contrastive() {
    let embeddings = random(2, &[7, 10], 2.0);
    // Label 4 stands alone: it is no anchor, but others are held away from it.
    let targets = [0, 1, 0, 4, 1, 1, 0];
    let expected = plain_contrastive(&rows(&embeddings), &targets, 0.1);
    let found = value(&contrastive(&embeddings, &targets, 0.1).unwrap());
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    let nobody = value(&contrastive(&embeddings, &[0, 1, 2, 3, 4, 5, 6], 0.1).unwrap());
    assert!(nobody.abs() < 1e-12, "{nobody}");
}

#[test]
fn gradient_of_the_contrastive_loss() {
    let embeddings = Var::from_tensor(&random(2, &[5, 4], 2.0)).unwrap();
    let targets = [0, 1, 0, 1, 1];
    let gradients = contrastive(&embeddings, &targets, 0.1).unwrap().backward().unwrap();
    let gradient = rows(gradients.get(&embeddings).unwrap());
    let values = rows(&embeddings);
    for i in 0..5 {
        for j in 0..4 {
            let at = |change: f64| {
                let mut values = values.clone();
                values[i][j] += change;
                plain_contrastive(&values, &targets, 0.1)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient[i][j] - expected).abs() < 1e-3, "{i} {j}: {} {expected}", gradient[i][j]);
        }
    }
}

#[test]
fn divergence_of_two_passes() {
    let (a, b) = (random(5, &[4, 6], 2.0), random(6, &[4, 6], 2.0));
    let kl = |a: &[f64], b: &[f64]| {
        let (a, b) = (log_softmax(a), log_softmax(b));
        a.iter().zip(&b).map(|(a, b)| a.exp() * (a - b)).sum::<f64>()
    };
    let per_row = rows(&a).into_iter().zip(rows(&b)).map(|(a, b)| f64::midpoint(kl(&a, &b), kl(&b, &a)));
    let expected = per_row.sum::<f64>() / 4.0;
    let found = value(&divergence(&a, &b).unwrap());
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    assert!(value(&divergence(&a, &a).unwrap()).abs() < 1e-7);
    let one = Tensor::zeros((1, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(value(&divergence(&one, &one).unwrap()).abs() < 1e-12);
}

/// Divergence of softened distributions in loops, times the temperature's square.
fn plain_distillation(logits: &[Vec<f64>], teacher: &[Vec<f64>], temperature: f64) -> f64 {
    let soft = |row: &[f64]| log_softmax(&row.iter().map(|x| x / temperature).collect::<Vec<f64>>());
    let of_row = |(logits, teacher): (&Vec<f64>, &Vec<f64>)| {
        let (q, p) = (soft(logits), soft(teacher));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    };
    temperature * temperature * logits.iter().zip(teacher).map(of_row).sum::<f64>() / logits.len() as f64
}

#[test]
fn distillation_from_a_teacher() {
    let (logits, teacher) = (random(7, &[5, 6], 3.0), random(8, &[5, 6], 4.0));
    for temperature in [1.0, 2.0, 5.0] {
        let expected = plain_distillation(&rows(&logits), &rows(&teacher), temperature);
        let found = value(&distillation(&logits, &teacher, temperature).unwrap());
        assert!((found - expected).abs() < 1e-4, "{temperature}: {found} {expected}");
    }
    // A teacher's log-probabilities are as good as its logits, and a student that says the same has nothing to learn.
    let rows_of_teacher: Vec<f32> =
        rows(&teacher).iter().flat_map(|row| log_softmax(row)).map(|x| x as f32).collect();
    let normalised = Tensor::from_vec(rows_of_teacher, (5, 6), &Device::Cpu).unwrap();
    assert!(value(&distillation(&teacher, &normalised, 2.0).unwrap()).abs() < 1e-5);
    // Certain teachers: probabilities that vanish in single precision.
    let certain = Tensor::new(&[[0f32, -300.0, -200.0]], &Device::Cpu).unwrap();
    let wrong = Tensor::new(&[[0f32, 1.0, 2.0]], &Device::Cpu).unwrap();
    let expected = (0.0f64.exp() + 1.0f64.exp() + 2.0f64.exp()).ln();
    let found = value(&distillation(&wrong, &certain, 1.0).unwrap());
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn gradient_of_the_distillation_loss() {
    let logits = Var::from_tensor(&random(9, &[3, 4], 2.0)).unwrap();
    let teacher = random(10, &[3, 4], 2.0);
    for temperature in [1.0, 2.0] {
        let gradients = distillation(&logits, &teacher, temperature).unwrap().backward().unwrap();
        let gradient = rows(gradients.get(&logits).unwrap());
        for (i, row) in gradient.iter().enumerate() {
            for (j, found) in row.iter().enumerate() {
                let at = |change: f64| {
                    let mut values = rows(&logits);
                    values[i][j] += change;
                    plain_distillation(&values, &rows(&teacher), temperature)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((found - expected).abs() < 1e-4, "{i} {j}: {found} {expected}");
            }
        }
    }
}
