//! The WebGPU backend on whatever adapter this machine has; on those without one, Debian's mesa-vulkan-drivers brings one in
//! software. `RELAYOPS_NO_GPU=1` declares that there is none: then these tests say that they did not run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../gpu_suite/mod.rs"]
mod gpu_suite;
#[path = "../kernel_suite/mod.rs"]
#[allow(dead_code, reason = "its numbers are used, its tests are run elsewhere")]
mod kernel_suite;
mod models;
mod ops;

use std::sync::OnceLock;

use futures_util::FutureExt;
use relayops_intent::backend::gpu::Gpu;
use relayops_testkit::not_run;

/// A device of its own.
fn open() -> Gpu {
    let opened = Gpu::open().now_or_never().expect("natively nothing is waited for");
    opened.unwrap_or_else(|error| panic!("{error}; RELAYOPS_NO_GPU=1 declares that there is no GPU"))
}

/// The device that tests share, which has no more room than every device; nothing where it is declared that there is none.
fn gpu(test: &str) -> Option<Gpu> {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    if std::env::var_os("RELAYOPS_NO_GPU").is_some_and(|value| value == "1") {
        not_run(test, "RELAYOPS_NO_GPU declares that there is no GPU");
        return None;
    }
    let gpu = GPU.get_or_init(|| {
        let opened = Gpu::open_within_defaults().now_or_never().expect("natively nothing is waited for");
        let gpu =
            opened.unwrap_or_else(|error| panic!("{error}; RELAYOPS_NO_GPU=1 declares that there is no GPU"));
        eprintln!("adapter: {}", gpu.adapter());
        gpu
    });
    Some(gpu.clone())
}
