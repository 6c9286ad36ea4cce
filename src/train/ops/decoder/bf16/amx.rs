//! The matrix unit of x86-64 (Intel AMX): tiles of 16 rows of 32 bf16 values.
//!
//! Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter 20. The intrinsics are not stable yet,
//! the instructions are reached through inline assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use half::bf16;

use super::{BLOCK, Left, Sums, TILE, TILE_VALUES, Unit};

/// Whether this machine and its kernel let us use the unit. The answer is asked for once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0
}

/// Asks Linux to keep the tiles across context switches, for all threads of this process.
fn is_permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` (`asm/prctl.h`).
    const REQUEST: libc::c_ulong = 0x1023;
    /// `XFEATURE_XTILEDATA`.
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and no memory; where it is not known it returns an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

/// The unit; only where it is [`available`].
pub(super) struct Amx;

impl Unit for Amx {
    fn column(&self, left: &Left, tiles: &[bf16], give: &mut dyn FnMut(usize, &Sums)) {
        assert!(available(), "the matrix unit can't be used here");
        let (first, second) = tiles.split_at(left.steps * TILE_VALUES);
        assert!(left.steps > 0 && second.len() == first.len(), "two columns of tiles");
        let _tiles_in_use = Configured::new();
        let mut sums = [0.0; BLOCK * BLOCK];
        for row in (0..left.rows).step_by(BLOCK) {
            let block = left.block(row);
            let stride = size_of_val(block) / BLOCK;
            // SAFETY: the unit is available and configured; `block` has `BLOCK` rows of `steps` steps, `first` and
            // `second` have `steps` tiles each, `sums` `BLOCK` rows of `BLOCK`.
            unsafe {
                kernel(
                    block.as_ptr(),
                    stride,
                    first.as_ptr(),
                    second.as_ptr(),
                    left.steps,
                    sums.as_mut_ptr(),
                );
            }
            give(row, &sums);
        }
    }
}

/// All eight tiles at full size on this thread, until dropped.
struct Configured;

impl Configured {
    fn new() -> Self {
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..8].fill(16);
        // SAFETY: callers have asked `available`; the instruction reads the 64 bytes of `configuration`.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: gives the tiles back; there is nothing in them that anyone still reads.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `BLOCK` rows times two columns of tiles, into `BLOCK` rows of `BLOCK` sums.
///
/// # Safety
/// The tiles are configured. `left` has `BLOCK` rows of `64 * steps` bytes, `stride` bytes apart; `first` and `second`
/// have `steps` tiles each, `sums` room for `BLOCK * BLOCK` values. `steps` is not 0.
unsafe fn kernel(
    left: *const bf16,
    stride: usize,
    first: *const bf16,
    second: *const bf16,
    steps: usize,
    sums: *mut f32,
) {
    debug_assert!(steps > 0);
    // SAFETY: the loop reads the `steps` tiles of each side that the caller vouches for and writes four tiles of sums.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {stride}]",
            "tileloadd tmm6, [{first} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{second} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {first}, 1024",
            "add {second}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {sum_row}], tmm0",
            "tilestored [{sums} + {sum_row} + 64], tmm1",
            "tilestored [{sums_lower} + {sum_row}], tmm2",
            "tilestored [{sums_lower} + {sum_row} + 64], tmm3",
            upper = inout(reg) left => _,
            lower = inout(reg) left.byte_add(TILE * stride) => _,
            stride = in(reg) stride,
            first = inout(reg) first => _,
            second = inout(reg) second => _,
            row = in(reg) 64_usize,
            steps = inout(reg) steps => _,
            sums = in(reg) sums,
            sums_lower = in(reg) sums.add(TILE * BLOCK),
            sum_row = in(reg) BLOCK * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
