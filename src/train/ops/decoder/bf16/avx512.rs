//! The dot products of AVX-512 BF16: 16 columns of sums and a pair of neighbours in depth per instruction.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VDPBF16PS; a row of a tile, 16 pairs, is one
//! operand of it as it lies.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::mem::transmute;

use half::bf16;

use super::{BLOCK, DEPTH, Left, Sums, TILE, TILE_VALUES, Unit};

/// Rows of the left-hand side whose sums are in registers at once: with two vectors of sums each 16 of the 32 registers,
/// and as many independent additions as two units with a latency of six or so take.
const ROWS: usize = 8;

/// Whether this machine has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// The unit; only where it is [`available`].
pub(super) struct Avx512;

impl Unit for Avx512 {
    fn column(&self, left: &Left, tiles: &[bf16], give: &mut dyn FnMut(usize, &Sums)) {
        assert!(available(), "this processor has no AVX-512 BF16");
        let (first, second) = tiles.split_at(left.steps * TILE_VALUES);
        assert!(left.steps > 0 && second.len() == first.len(), "two columns of tiles");
        let width = left.steps * DEPTH;
        let mut sums = [0.0; BLOCK * BLOCK];
        for row in (0..left.rows).step_by(BLOCK) {
            let rows = left.block(row).chunks_exact(ROWS * width);
            for (rows, sums) in rows.zip(sums.chunks_exact_mut(ROWS * BLOCK)) {
                // SAFETY: the instructions are available; `rows` has `ROWS` rows of `width` values, `first` and `second`
                // have `width / DEPTH` tiles each, `sums` has `ROWS` rows of `BLOCK`.
                unsafe { kernel(rows, width, first, second, sums) };
            }
            give(row, &sums);
        }
    }
}

/// `ROWS` rows times two columns of tiles, into `ROWS` rows of `BLOCK` sums.
///
/// # Safety
/// [`available`]; `rows` has `ROWS * width` values, `first` and `second` have `TILE * width` each, `sums` `ROWS * BLOCK`;
/// `width` is a multiple of `DEPTH`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn kernel(rows: &[bf16], width: usize, first: &[bf16], second: &[bf16], sums: &mut [f32]) {
    let mut totals: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
    for pair in 0..width / 2 {
        // SAFETY: a pair of depth has `DEPTH` values in each column of tiles.
        let (first, second) =
            unsafe { (load(first.as_ptr().add(pair * DEPTH)), load(second.as_ptr().add(pair * DEPTH))) };
        for (row, totals) in totals.iter_mut().enumerate() {
            // SAFETY: `2 * pair + 1 < width`; the read need not be aligned.
            let both = unsafe { rows.as_ptr().add(row * width + 2 * pair).cast::<i32>().read_unaligned() };
            let both = bits(_mm512_set1_epi32(both));
            totals[0] = _mm512_dpbf16_ps(totals[0], both, first);
            totals[1] = _mm512_dpbf16_ps(totals[1], both, second);
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        // SAFETY: a row has `BLOCK` sums, two vectors of `TILE`.
        unsafe {
            let to = sums.as_mut_ptr().add(row * BLOCK);
            _mm512_storeu_ps(to, totals[0]);
            _mm512_storeu_ps(to.add(TILE), totals[1]);
        }
    }
}

/// 32 values.
///
/// # Safety
/// They can be read from `from`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn load(from: *const bf16) -> __m512bh {
    // SAFETY: the caller's word; the load need not be aligned.
    bits(unsafe { _mm512_loadu_si512(from.cast()) })
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bits(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and all of them are valid in either.
    unsafe { transmute::<__m512i, __m512bh>(bits) }
}
