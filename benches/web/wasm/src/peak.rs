//! The highest rate of a multiply-add instruction: loops that do nothing else, with several numbers of accumulators and
//! operands from registers or from the nearest cache, of which the fastest counts.

use web_time::Instant;

/// Instructions in a loop that is timed at once.
const STEPS: usize = 1 << 20;

/// Seconds that each variant is repeated for: the fastest repetition counts.
const SECONDS: f64 = 0.15;

/// Operands of the loops that read memory, in bytes: they stay in the nearest cache.
const WINDOW: usize = 4096;

/// A macro and no function of a closure: a function has an instruction only where it is itself compiled for it.
macro_rules! loops {
    ($(#[$feature:meta])* $name:ident, $multiplications:literal, $add:ident, $multiply:ident) => {
        pub(crate) mod $name {
            use std::arch::wasm32::{$add, $multiply, i8x16_splat, v128, v128_any_true, v128_load};

            use super::{STEPS, WINDOW, fastest};

            /// Multiply-adds a second, of the instruction and the addition of what it gives.
            pub(crate) fn rate() -> f64 {
                let loops: [fn(v128) -> usize; 7] = [
                    |w| registers::<4>(w),
                    |w| registers::<6>(w),
                    |w| registers::<8>(w),
                    |w| registers::<12>(w),
                    |w| memory::<4>(w),
                    |w| memory::<8>(w),
                    |w| memory::<12>(w),
                ];
                let w = i8x16_splat(3);
                $multiplications * loops.into_iter().map(|run| fastest(|| run(w))).fold(0.0, f64::max)
            }

            /// `N` chains whose first operand is the chain itself, so that no product can be computed once for all.
            $(#[$feature])*
            fn registers<const N: usize>(w: v128) -> usize {
                let mut sums: [v128; N] = std::array::from_fn(|n| i8x16_splat(n as i8));
                for _ in 0..STEPS / N {
                    for sum in &mut sums {
                        *sum = $add(*sum, $multiply(*sum, w));
                    }
                }
                keep(&sums);
                STEPS / N * N
            }

            /// `N` chains whose first operand is loaded.
            $(#[$feature])*
            fn memory<const N: usize>(w: v128) -> usize {
                let values: Vec<u8> = (0..WINDOW + 16 * N).map(|at| at as u8 & 63).collect();
                let mut sums = [i8x16_splat(0); N];
                for round in 0..STEPS / N {
                    let at = 16 * N * round % WINDOW;
                    let window = &values[at..at + 16 * N];
                    for (n, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: 16 bytes inside the window; the load needs no alignment.
                        let x = unsafe { v128_load(window.as_ptr().add(16 * n).cast()) };
                        *sum = $add(*sum, $multiply(x, w));
                    }
                }
                keep(&sums);
                STEPS / N * N
            }

            /// What nobody reads would not be computed.
            fn keep(sums: &[v128]) {
                std::hint::black_box(sums.iter().filter(|sum| v128_any_true(**sum)).count());
            }
        }
    };
}

#[cfg(feature = "relaxed-simd")]
loops!(
    #[target_feature(enable = "relaxed-simd")]
    relaxed_dot,
    16.0,
    i16x8_add,
    i16x8_relaxed_dot_i8x16_i7x16
);
loops!(dot, 8.0, i32x4_add, i32x4_dot_i16x8);

/// Instructions a second of the fastest of many calls of `run`, which says how many it did.
fn fastest(run: impl Fn() -> usize) -> f64 {
    let (start, mut best) = (Instant::now(), 0f64);
    while start.elapsed().as_secs_f64() < SECONDS {
        let one = Instant::now();
        let instructions = run();
        let seconds = one.elapsed().as_secs_f64();
        // Browsers round their clocks: a loop takes some hundred times what an isolated page's is rounded to.
        if seconds > 0.0 {
            best = best.max(instructions as f64 / seconds);
        }
    }
    best
}
