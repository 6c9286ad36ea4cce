//! Operations of a decoder on slices, forwards and backwards: no graph, no copies of frozen weights, no gradients
//! for them.

mod attention;
mod linear;
mod norm;
mod product;
mod swiglu;

pub use attention::{Block, Tree};
pub use linear::Part;
pub(in crate::train) use linear::{Linear, LowRank};
pub(in crate::train) use norm::RmsNorm;
pub(in crate::train) use swiglu::SwiGlu;
#[cfg(test)]
mod tests;
