//! Every shader against its definition on the CPU.

use futures_util::FutureExt;

use super::gpu;
use super::gpu_suite::{self, each_check};

macro_rules! tests {
    ($($check:ident),* $(,)?) => {
        $(
            #[test]
            fn $check() {
                let Some(gpu) = gpu(stringify!($check)) else { return };
                gpu_suite::$check(&gpu).now_or_never().expect("natively nothing is waited for");
            }
        )*
    };
}

each_check!(tests);
