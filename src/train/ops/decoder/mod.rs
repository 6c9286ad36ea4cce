//! Operations of a decoder on slices, forwards and backwards: no graph, no copies of frozen weights, no gradients
//! for them.

mod attention;
mod bf16;
mod linear;
mod norm;
mod product;
mod swiglu;

pub use attention::{Block, Tree};
pub(in crate::train) use bf16::{Tiles, is_fast as is_bf16_fast};
pub use linear::Part;
pub(in crate::train) use linear::{Linear, LowRank, Weight};
pub(in crate::train) use norm::RmsNorm;
pub(in crate::train) use swiglu::SwiGlu;
#[cfg(test)]
mod tests;
