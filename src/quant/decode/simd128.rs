//! Decoding and interleaving at once, with WebAssembly's 128-bit SIMD: a block of all rows of a tile stays in registers
//! from the bytes of the file to the order of the tile.

use std::arch::wasm32::{
    i8x16_eq, i8x16_shuffle, i8x16_splat, i8x16_sub, i16x8_shuffle, i32x4_shuffle, i64x2_shuffle, u8x16_shl,
    u8x16_shr, u8x16_splat, u32x4, v128, v128_and, v128_load, v128_load32_splat, v128_or, v128_store,
};

use super::{DecodedTile, Scratch};
use crate::quant::Format;
use crate::quant::tile::{Fours, Lanes, Layout, Pairs, TILE_ROWS};

/// Half a block of every row.
type Rows = [v128; TILE_ROWS];

/// Decodes `data`, which is [`TILE_ROWS`] rows.
pub(super) fn decode(data: &[u8], to: &mut DecodedTile) {
    match to.format {
        Format::Q4_0 => by_blocks::<18>(data, to, |row| {
            let bytes = load(row, 2);
            [low(bytes), high(bytes)]
        }),
        Format::Q5_0 => by_blocks::<22>(data, to, |row| {
            let (bytes, fifth) = (load(row, 6), load_word(row, 2));
            [v128_or(low(bytes), fifth_bits::<0>(fifth)), v128_or(high(bytes), fifth_bits::<2>(fifth))]
        }),
        Format::Q8_0 => by_blocks::<34>(data, to, |row| [load(row, 2), load(row, 18)]),
        Format::Q4K => q4_k(data, to),
        Format::Q6K => q6_k(data, to),
        Format::F32 | Format::F16 => unreachable!("float rows are not decoded to integers"),
    }
}

/// Formats of blocks of 32 values that start with their scale.
#[inline(always)]
fn by_blocks<const BYTES: usize>(
    data: &[u8],
    to: &mut DecodedTile,
    halves: impl Fn(&[u8; BYTES]) -> [v128; 2],
) {
    let rows = rows_of::<BYTES>(data);
    let offset = to.format.offset() as u8;
    for (b, scales) in to.scales.iter_mut().enumerate() {
        let blocks = rows.map(|row| &row[b]);
        *scales = halves_at(blocks, 0);
        let block = blocks.map(&halves);
        to.quants.put(2 * b, block.map(|[first, _]| first), offset);
        to.quants.put(2 * b + 1, block.map(|[_, second]| second), offset);
    }
}

fn q4_k(data: &[u8], to: &mut DecodedTile) {
    let rows = rows_of::<144>(data);
    for b in 0..to.cols / 256 {
        let blocks = rows.map(|row| &row[b]);
        let (scales, minima): (Lanes, Lanes) = (halves_at(blocks, 0), halves_at(blocks, 2));
        for j in 0..8 {
            let small = blocks.map(|block| super::blocks::q4_k_small(block, j));
            to.scales[8 * b + j] = std::array::from_fn(|lane| scales[lane] * f32::from(small[lane].0));
            to.minima[8 * b + j] = std::array::from_fn(|lane| minima[lane] * f32::from(small[lane].1));
        }
        for quarter in 0..4 {
            for side in 0..2 {
                // 32 bytes hold 64 values: the low halves are the first 32.
                let bytes = blocks.map(|block| load(block, 16 + 32 * quarter + 16 * side));
                let at = 16 * b + 4 * quarter + side;
                to.quants.put(at, bytes.map(low), 0);
                to.quants.put(at + 2, bytes.map(high), 0);
            }
        }
    }
}

fn q6_k(data: &[u8], to: &mut DecodedTile) {
    let rows = rows_of::<210>(data);
    let offset = to.format.offset() as u8;
    for b in 0..to.cols / 256 {
        let blocks = rows.map(|row| &row[b]);
        to.scales[8 * b..8 * b + 8].fill(halves_at(blocks, 208));
        for (j, lanes) in to.subscales[16 * b..16 * b + 16].iter_mut().enumerate() {
            *lanes = blocks.map(|block| [i16::from(block[192 + j].cast_signed()); 2]);
        }
        for half in 0..2 {
            for side in 0..2 {
                // 64 bytes hold the low bits of 128 values, and 32 bytes their high ones, 32 values at a time.
                let first = blocks.map(|block| load(block, 64 * half + 16 * side));
                let second = blocks.map(|block| load(block, 64 * half + 32 + 16 * side));
                let top = blocks.map(|block| load(block, 128 + 32 * half + 16 * side));
                let at = 16 * b + 8 * half + side;
                let with = |nibbles: Rows, top: Rows| {
                    std::array::from_fn(|lane| v128_or(nibbles[lane], v128_and(top[lane], u8x16_splat(0x30))))
                };
                to.quants.put(at, with(first.map(low), top.map(|top| u8x16_shl(top, 4))), offset);
                to.quants.put(at + 2, with(second.map(low), top.map(|top| u8x16_shl(top, 2))), offset);
                to.quants.put(at + 4, with(first.map(high), top), offset);
                to.quants.put(at + 6, with(second.map(high), top.map(|top| u8x16_shr(top, 2))), offset);
            }
        }
    }
}

impl Scratch {
    /// Writes sixteen columns, from `16 * index` on.
    #[inline(always)]
    fn put(&mut self, index: usize, rows: Rows, offset: u8) {
        match self.layout {
            Layout::Fours => put_fours(rows, &mut self.fours.as_chunks_mut::<4>().0[index]),
            Layout::Pairs => put_pairs(rows, offset, &mut self.pairs.as_chunks_mut::<8>().0[index]),
        }
    }
}

#[inline(always)]
fn put_fours([a, b, c, d, e, f, g, h]: Rows, out: &mut [Fours; 4]) {
    let (first, second) = (transpose_words(a, b, c, d), transpose_words(e, f, g, h));
    let at = out.as_mut_ptr().cast::<v128>();
    for group in 0..4 {
        // SAFETY: a group is two registers; v128 stores need no alignment.
        unsafe {
            v128_store(at.add(2 * group), first[group]);
            v128_store(at.add(2 * group + 1), second[group]);
        }
    }
}

#[inline(always)]
fn put_pairs(rows: Rows, offset: u8, out: &mut [Pairs; 8]) {
    let offset = i8x16_splat(offset.cast_signed());
    let [a, b, c, d, e, f, g, h] = rows.map(|row| i8x16_sub(row, offset));
    let near = |a, b| i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b);
    let far = |a, b| i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b);
    let columns = [
        transpose_words(near(a, b), near(c, d), near(e, f), near(g, h)),
        transpose_words(far(a, b), far(c, d), far(e, f), far(g, h)),
    ];
    let at = out.as_mut_ptr().cast::<v128>();
    for (pair, column) in columns.as_flattened().iter().enumerate() {
        // SAFETY: a pair of columns is one register; v128 stores need no alignment.
        unsafe { v128_store(at.add(pair), *column) };
    }
}

/// Word `i` of each argument into result `i`.
#[inline(always)]
fn transpose_words(a: v128, b: v128, c: v128, d: v128) -> [v128; 4] {
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let (ab_high, cd_high) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i64x2_shuffle::<0, 2>(ab, cd),
        i64x2_shuffle::<1, 3>(ab, cd),
        i64x2_shuffle::<0, 2>(ab_high, cd_high),
        i64x2_shuffle::<1, 3>(ab_high, cd_high),
    ]
}

/// Each row as blocks.
#[inline(always)]
fn rows_of<const BYTES: usize>(data: &[u8]) -> [&[[u8; BYTES]]; TILE_ROWS] {
    let row = data.len() / TILE_ROWS;
    std::array::from_fn(|lane| data[lane * row..][..row].as_chunks::<BYTES>().0)
}

/// The half-precision floats at byte `at` of each row's block; what is not finite stays so. As the portable one.
#[inline(always)]
fn halves_at<const BYTES: usize>(blocks: [&[u8; BYTES]; TILE_ROWS], at: usize) -> Lanes {
    let bits = blocks.map(|block| u32::from(u16::from_le_bytes([block[at], block[at + 1]])));
    bits.map(super::blocks::half_to_float)
}

/// Sixteen bytes of `bytes`, from `at` on.
#[inline(always)]
fn load<const BYTES: usize>(bytes: &[u8; BYTES], at: usize) -> v128 {
    assert!(at + 16 <= BYTES);
    // SAFETY: inside the array, as was just checked; v128 loads need no alignment.
    unsafe { v128_load(bytes.as_ptr().add(at).cast()) }
}

/// Four bytes of `bytes`, from `at` on, four times.
#[inline(always)]
fn load_word<const BYTES: usize>(bytes: &[u8; BYTES], at: usize) -> v128 {
    assert!(at + 4 <= BYTES);
    // SAFETY: inside the array, as was just checked; the load needs no alignment.
    unsafe { v128_load32_splat(bytes.as_ptr().add(at).cast()) }
}

#[inline(always)]
fn low(bytes: v128) -> v128 {
    v128_and(bytes, u8x16_splat(15))
}

#[inline(always)]
fn high(bytes: v128) -> v128 {
    u8x16_shr(bytes, 4)
}

/// 16 in byte `j` where bit `j` is set of the two bytes of `bits` from byte `FROM` on.
#[inline(always)]
fn fifth_bits<const FROM: usize>(bits: v128) -> v128 {
    let each = u32x4(0x0804_0201, 0x8040_2010, 0x0804_0201, 0x8040_2010);
    let bytes = if FROM == 0 {
        i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1>(bits, bits)
    } else {
        i8x16_shuffle::<2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3>(bits, bits)
    };
    v128_and(i8x16_eq(v128_and(bytes, each), each), u8x16_splat(16))
}
