//! What the kernels of 128 bits do at the end of a block.

use std::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, v128, v128_load, v128_store,
};

use crate::quant::tile::{Lanes, SubLanes};

/// The sums of `T` tokens over a tile's rows, 0 to 3 and 4 to 7.
pub(super) struct Sums<const T: usize>([[v128; 2]; T]);

impl<const T: usize> Default for Sums<T> {
    #[inline(always)]
    fn default() -> Self {
        Self([[f32x4_splat(0.0); 2]; T])
    }
}

impl<const T: usize> Sums<T> {
    /// Adds a block: `dot * (scale * x)`, each operation rounded, in that order.
    #[inline(always)]
    pub(super) fn add(&mut self, dots: [[v128; 2]; T], scales: &Lanes, x: [f32; T]) {
        let scales = load_lanes(scales);
        for t in 0..T {
            let x = f32x4_splat(x[t]);
            for half in 0..2 {
                let scaled = f32x4_mul(f32x4_convert_i32x4(dots[t][half]), f32x4_mul(scales[half], x));
                self.0[t][half] = f32x4_add(self.0[t][half], scaled);
            }
        }
    }

    #[inline(always)]
    pub(super) fn store(&self, out: &mut [Lanes]) {
        for (sums, out) in self.0.iter().zip(out) {
            let at = out.as_mut_ptr().cast::<v128>();
            // SAFETY: the lanes are 32 bytes; v128 stores need no alignment.
            unsafe {
                v128_store(at, sums[0]);
                v128_store(at.add(1), sums[1]);
            }
        }
    }
}

#[inline(always)]
fn load_lanes(lanes: &Lanes) -> [v128; 2] {
    let at = lanes.as_ptr().cast::<v128>();
    // SAFETY: the lanes are 32 bytes; v128 loads need no alignment.
    unsafe { [v128_load(at), v128_load(at.add(1))] }
}

#[inline(always)]
pub(super) fn load_sub_lanes(lanes: &SubLanes) -> [v128; 2] {
    let at = lanes.as_ptr().cast::<v128>();
    // SAFETY: the lanes are 32 bytes; v128 loads need no alignment.
    unsafe { [v128_load(at), v128_load(at.add(1))] }
}
