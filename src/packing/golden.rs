//! Golden vectors: messages with the answers of the stored weights.

use crate::Result;
use crate::backend::Backend;
use crate::encoder::Encoder;
use crate::pack::Golden;

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

/// What `rounded` answers, which runs as users' backends do; `exact`, whose products round nothing, is for the tolerance of
/// other arithmetic.
pub(super) fn measure<A: Backend, B: Backend>(
    exact: &mut Encoder<A>,
    rounded: &mut Encoder<B>,
) -> Result<Golden> {
    let exact: Vec<Vec<f32>> =
        ENCODER.iter().map(|text| exact.log_probabilities(text)).collect::<Result<_>>()?;
    let rounded: Vec<Vec<f32>> =
        ENCODER.iter().map(|text| rounded.log_probabilities(text)).collect::<Result<_>>()?;
    Ok(Golden::measured(&ENCODER, &rounded, &exact))
}
