//! GGUF files, read as they stream in.
//!
//! [`header::parse`] reads the header from a growing buffer into candle-core's types; [`GgufStream`] takes the
//! file in chunks of any size, in order, and fills each tensor in place, so that the file is never held twice.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

pub mod header;
mod metadata;
mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod write;

pub use header::Header;
pub use metadata::Metadata;
pub use stream::{Gguf, GgufStream};
