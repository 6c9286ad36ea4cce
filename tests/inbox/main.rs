//! The inbox over real sockets: what it takes, keeps, shows and refuses, also when it is killed.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod agents;
mod crash;
mod guard;
mod kit;
mod load;
mod process;
mod retention;
mod stream;
mod submit;
