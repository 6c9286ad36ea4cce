//! Golden vectors: messages with the answers of the stored weights.

use crate::Result;
use crate::backend::Backend;
use crate::encoder::Encoder;
use crate::pack::manifest::{Golden, GoldenVector};

/// Short and longer, plain and odd: every path of tokenizer and kernels (1, 2, 3 and more rows over whole tiles) in few
/// passes, because they are run whenever the pack is loaded.
pub(super) const ENCODER: [&str; 4] = [
    "hi",
    "my internet is down",
    "hw do i chnge teh wifi pswd on my rooter??",
    "caf\u{e9} hotspot \u{1f621} \u{2014} [SEP] #1, 5GHz; \u{420}\u{43e}\u{443}: why was I charged $49.99 twice",
];
/// A decoder's passes take a while, and each of them has rows enough for whole tiles and a rest.
pub(super) const DECODER: [&str; 2] = [
    "my internet is down",
    "hw do i chnge teh pswd?? caf\u{e9} \u{1f621} \u{2014} <|im_end|> 5GHz, \u{420}\u{43e}\u{443} $49.99",
];
/// Decimals that are kept: fewer than any compiler or library could change.
const DECIMALS: f32 = 1e4;
/// Allowed of builds of this engine. All multiply the same integers and add the same floats in the same order; they differ
/// only in the last softmax's functions, by 1e-7, and [`DECIMALS`] add 5e-5.
const TOLERANCE: f32 = 1e-3;
/// Allowed of arithmetic of another order or precision: at least this, and [`SLACK`] times what leaving the activations
/// unrounded changes here.
///
/// Last bits do not stay small: they turn the rounding of some activation to 8 bits, and every layer rounds again. With the
/// sums of products, norms and attention taken in another order, log-probabilities of the compact model moved by 0.017
/// (median over the 1,853 messages of held-out, dev and adversarial set), 0.093 (99% of them) and 0.18 (the most).
const LEAST: f32 = 0.05;
const SLACK: f32 = 4.0;

/// The answers `exact`, whose products round nothing, to `texts`; the tolerance comes from how far `rounded` are off,
/// which are given as users' backends give them.
pub(super) fn compare(texts: &[&str], exact: &[Vec<f32>], rounded: &[Vec<f32>]) -> Golden {
    let pairs = exact.iter().flatten().zip(rounded.iter().flatten());
    let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    let vector = |(text, answer): (&&str, &Vec<f32>)| GoldenVector {
        text: (*text).to_owned(),
        log_probabilities: answer.iter().map(|l| (l * DECIMALS).round() / DECIMALS).collect(),
    };
    // Rounded up to hundredths, so that a last bit does not change the manifest.
    let tolerance = (LEAST.max(SLACK * worst) * 100.0).ceil() / 100.0;
    Golden { tolerance, tolerance_other_order: None, vectors: texts.iter().zip(exact).map(vector).collect() }
}

/// What `rounded` answers, which runs as users' backends do; `exact`, whose products round nothing, is for the tolerance of
/// other arithmetic.
pub(super) fn measure<A: Backend, B: Backend>(
    exact: &mut Encoder<A>,
    rounded: &mut Encoder<B>,
) -> Result<Golden> {
    let (mut vectors, mut worst) = (Vec::new(), 0f32);
    for text in ENCODER {
        let log_probabilities = rounded.log_probabilities(text)?;
        let other = exact.log_probabilities(text)?;
        worst = log_probabilities.iter().zip(&other).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
        let log_probabilities = log_probabilities.iter().map(|l| (l * DECIMALS).round() / DECIMALS).collect();
        vectors.push(GoldenVector { text: text.to_owned(), log_probabilities });
    }
    // Rounded up to hundredths, so that a last bit does not change the manifest.
    let other = (LEAST.max(SLACK * worst) * 100.0).ceil() / 100.0;
    Ok(Golden { tolerance: TOLERANCE, tolerance_other_order: Some(other), vectors })
}
