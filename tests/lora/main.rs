//! Training and import of adapters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod apply;
mod elsewhere;
mod forward;
mod gradients;
mod output;
mod pack;
mod peft;
mod record;
mod runs;
mod soften;
mod tiny;
