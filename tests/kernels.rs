//! Kernels, what lies between products, and block formats against their definitions and against candle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "kernel_suite/mod.rs"]
mod kernel_suite;

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use kernel_suite::{
    activations_are_rounded_as_defined, decoders_agree, kernels_agree, layers, products_agree_with_floats,
    random, sums_stay_in_range,
};
use relayops_intent::quant::activations::QuantizedActivations;
use relayops_intent::quant::{Format, QuantMatrix};

#[test]
fn every_kernel_agrees_with_the_scalar_one() {
    let ran = kernels_agree();
    assert_eq!(ran[0], "scalar");
    // A machine with AVX2 must have run the AVX2 kernel.
    #[cfg(target_arch = "x86_64")]
    assert_eq!(ran.contains(&"avx2"), is_x86_feature_detected!("avx2"));
}

#[test]
fn sums_of_the_largest_integers_stay_in_range() {
    sums_stay_in_range();
}

#[test]
fn decoders_are_the_row_by_row_one() {
    decoders_agree();
}

#[test]
fn activations_are_their_definition() {
    activations_are_rounded_as_defined();
}

#[test]
fn products_agree_with_float_products() {
    products_agree_with_floats();
}

#[test]
fn exponentials_are_the_standard_librarys() {
    layers::exponentials();
}

#[test]
fn activation_functions_are_their_definitions() {
    layers::activation_functions();
}

#[test]
fn norms_are_their_definitions() {
    layers::norms();
}

#[test]
fn rotations_are_their_definition() {
    layers::rotations();
}

#[test]
fn attention_is_its_definition() {
    layers::attention();
}

#[test]
fn low_rank_paths_are_two_products() {
    layers::low_rank_paths();
}

#[test]
fn dequantized_rows_are_candles() {
    let (rows, cols) = (3, 768);
    for (format, dtype) in [
        (Format::F32, GgmlDType::F32),
        (Format::F16, GgmlDType::F16),
        (Format::Q4_0, GgmlDType::Q4_0),
        (Format::Q5_0, GgmlDType::Q5_0),
        (Format::Q8_0, GgmlDType::Q8_0),
        (Format::Q4K, GgmlDType::Q4K),
        (Format::Q6K, GgmlDType::Q6K),
    ] {
        let values =
            candle_core::Tensor::from_vec(random(3, rows * cols), (rows, cols), &Device::Cpu).unwrap();
        let candle = QTensor::quantize(&values, dtype).unwrap();
        let bytes = candle.data().unwrap().into_owned();
        let again = QStorage::from_data(Cow::Borrowed(&bytes), &Device::Cpu, dtype).unwrap();
        let expected = QTensor::new(again, (rows, cols)).unwrap().dequantize(&Device::Cpu).unwrap();
        let expected = expected.to_vec2::<f32>().unwrap();
        let matrix = QuantMatrix::new(format, rows, cols, bytes).unwrap();
        let mut row = vec![0.0; cols];
        for (r, expected) in expected.iter().enumerate() {
            matrix.dequantize_row(r, &mut row);
            for (value, expected) in row.iter().zip(expected) {
                // Products are grouped otherwise: (scale * sub-scale) * quant there, scale * (sub-scale * quant) here.
                let tolerance = 4.0 * f32::EPSILON * (expected.abs() + 0.1);
                assert!((value - expected).abs() <= tolerance, "{format:?}: {value}, candle {expected}");
            }
        }
    }
}

#[test]
fn activations_round_to_the_nearest_step() {
    let x = random(11, 4 * 96);
    let rounded = QuantizedActivations::new(&x, 4, 96);
    for (index, value) in x.iter().enumerate() {
        let scale = rounded.scales[index / 32];
        let back = scale * f32::from(rounded.wide[index]);
        assert!((back - value).abs() <= scale * 0.5001, "{value} became {back}");
        assert!(rounded.wide[index].abs() <= 127);
    }
}

#[test]
fn faults_in_activations_are_not_rounded_away() {
    // The last: not a number, with bits that a whole block of could not be summed up.
    for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7fc0_7fff)] {
        let mut x = random(1, 64);
        x[32..].fill(fault);
        let rounded = QuantizedActivations::new(&x, 1, 64);
        assert!(rounded.scales[0].is_finite());
        assert!(!rounded.scales[1].is_finite(), "{fault} was lost");
    }
}

#[test]
fn a_row_of_zeros_stays_zero() {
    let rounded = QuantizedActivations::new(&[0.0; 32], 1, 32);
    assert_eq!((rounded.scales[0], rounded.sums[0]), (0.0, 0.0));
    assert!(rounded.wide.iter().all(|q| *q == 0));
}

#[test]
fn matrices_of_the_wrong_size_are_refused() {
    for (format, rows, cols, bytes) in
        [(Format::Q4K, 2, 128, 144), (Format::Q8_0, 2, 32, 34), (Format::F32, 1, 3, 16)]
    {
        let error = QuantMatrix::new(format, rows, cols, vec![0; bytes]).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
    }
}
