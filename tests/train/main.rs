//! Training of the compact model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod base;
mod command;
mod forward;
mod losses;
mod runs;
mod tiny;
