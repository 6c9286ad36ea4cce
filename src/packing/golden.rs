//! Golden vectors: messages with the answers of the stored weights.

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
/// The tolerance is at least this, and [`SLACK`] times what rounding activations to 8 bits changes here.
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
    Golden { tolerance, vectors: texts.iter().zip(exact).map(vector).collect() }
}
