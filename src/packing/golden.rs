//! Golden vectors: messages with the answers of the stored weights.

use crate::Result;
use crate::backend::Backend;
use crate::encoder::Encoder;
use crate::pack::manifest::{Golden, GoldenVector};

/// Short and longer, plain and odd: every path of tokenizer and kernels (1, 2, 3 and more rows over whole tiles) in few
/// passes, because they are run whenever the pack is loaded.
const TEXTS: [&str; 4] = [
    "hi",
    "my internet is down",
    "hw do i chnge teh wifi pswd on my rooter??",
    "caf\u{e9} hotspot \u{1f621} \u{2014} [SEP] #1, 5GHz; \u{420}\u{43e}\u{443}: why was I charged $49.99 twice",
];
/// Decimals that are kept: fewer than any compiler or library could change.
const DECIMALS: f32 = 1e4;
/// The tolerance is at least this, and [`SLACK`] times what rounding activations to 8 bits changes here.
const LEAST: f32 = 0.05;
const SLACK: f32 = 4.0;

/// Asks `exact`, whose products round nothing, and takes the tolerance from how far `rounded` is off, which runs as
/// users' backends do.
pub(super) fn measure<A: Backend, B: Backend>(
    exact: &mut Encoder<A>,
    rounded: &mut Encoder<B>,
) -> Result<Golden> {
    let (mut vectors, mut worst) = (Vec::new(), 0f32);
    for text in TEXTS {
        let log_probabilities = exact.log_probabilities(text)?;
        let off = rounded.log_probabilities(text)?;
        worst = log_probabilities.iter().zip(&off).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
        let log_probabilities = log_probabilities.iter().map(|l| (l * DECIMALS).round() / DECIMALS).collect();
        vectors.push(GoldenVector { text: text.to_owned(), log_probabilities });
    }
    // Rounded up to hundredths, so that a last bit does not change the manifest.
    let tolerance = (LEAST.max(SLACK * worst) * 100.0).ceil() / 100.0;
    Ok(Golden { tolerance, vectors })
}
