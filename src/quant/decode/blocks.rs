//! The block formats, a row at a time.

use half::f16;

use super::RowScales;
use crate::quant::activations::HALF;
use crate::quant::{BLOCK, Format};

/// Decodes one row of `format`: its integers, counted from the format's offset, to `quants` (`[cols]`).
pub(super) fn decode_row(format: Format, data: &[u8], quants: &mut [u8], to: RowScales<'_>) {
    match format {
        Format::Q4_0 => each_block(data, quants, to, q4_0),
        Format::Q5_0 => each_block(data, quants, to, q5_0),
        Format::Q8_0 => each_block(data, quants, to, q8_0),
        Format::Q4K => {
            let (scales, _) = to.scales.as_chunks_mut::<8>();
            let (minima, _) = to.minima.as_chunks_mut::<8>();
            let blocks = data.as_chunks::<144>().0.iter().zip(quants.as_chunks_mut::<256>().0);
            for ((block, quants), (scales, minima)) in blocks.zip(scales.iter_mut().zip(minima)) {
                q4_k(block, quants);
                for (j, (scale, minimum)) in scales.iter_mut().zip(minima).enumerate() {
                    (scale[to.lane], minimum[to.lane]) = q4_k_scale_min(block, j);
                }
            }
        }
        Format::Q6K => {
            let (scales, _) = to.scales.as_chunks_mut::<8>();
            let (subscales, _) = to.subscales.as_chunks_mut::<16>();
            let blocks = data.as_chunks::<210>().0.iter().zip(quants.as_chunks_mut::<256>().0);
            for ((block, quants), (scales, subscales)) in blocks.zip(scales.iter_mut().zip(subscales)) {
                q6_k(block, quants);
                let scale = half_at(block, 208);
                scales.iter_mut().for_each(|lanes| lanes[to.lane] = scale);
                let bytes = &block[192..208];
                subscales.iter_mut().zip(bytes).for_each(|(lanes, byte)| {
                    lanes[to.lane] = [i16::from(byte.cast_signed()); 2];
                });
            }
        }
        Format::F32 | Format::F16 => unreachable!("float rows are not decoded to integers"),
    }
}

#[inline(always)]
fn each_block<const BYTES: usize>(
    data: &[u8],
    quants: &mut [u8],
    to: RowScales<'_>,
    decode: impl Fn(&[u8; BYTES], &mut [u8; BLOCK]),
) {
    let blocks = data.as_chunks::<BYTES>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
    for ((block, quants), scale) in blocks.zip(to.scales) {
        decode(block, quants);
        scale[to.lane] = half_at(block, 0);
    }
}

/// The half-precision float at byte `at`.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_float(u32::from(u16::from_le_bytes([block[at], block[at + 1]])))
}

/// The half-precision float of the low 16 bits, without branches; what is not finite stays so.
#[inline(always)]
pub(super) fn half_to_float(bits: u32) -> f32 {
    // With the exponent where a float has it, the value is too small by the difference of the biases: 2^112. The
    // product is exact, for the smallest halves too, which are not normalised.
    let finite = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((112 + 127) << 23);
    let beyond = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(finite.to_bits() | beyond | (bits & 0x8000) << 16)
}

#[inline(always)]
fn q4_0(block: &[u8; 18], quants: &mut [u8; BLOCK]) {
    for j in 0..16 {
        quants[j] = block[2 + j] & 15;
        quants[j + 16] = block[2 + j] >> 4;
    }
}

/// `FIFTH_BIT[byte]` has 16 in byte `j` where bit `j` of `byte` is set.
static FIFTH_BIT: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= ((byte as u64 >> bit) & 1) << (8 * bit + 4);
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[inline(always)]
fn q5_0(block: &[u8; 22], quants: &mut [u8; BLOCK]) {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let (eights, _) = block[6..].as_chunks::<8>();
    let (out, _) = quants.as_chunks_mut::<8>();
    for (half, eight) in eights.iter().enumerate() {
        let quarter = u64::from_le_bytes(*eight);
        let low = quarter & LOW | FIFTH_BIT[usize::from(block[2 + half])];
        let high = quarter >> 4 & LOW | FIFTH_BIT[usize::from(block[4 + half])];
        out[half] = low.to_le_bytes();
        out[half + 2] = high.to_le_bytes();
    }
}

#[inline(always)]
fn q8_0(block: &[u8; 34], quants: &mut [u8; BLOCK]) {
    quants.copy_from_slice(&block[2..]);
}

/// Scale and minimum `j` of a Q4_K block: its floats times the 6-bit numbers, exactly.
#[inline(always)]
fn q4_k_scale_min(block: &[u8; 144], j: usize) -> (f32, f32) {
    let (scale, minimum) = q4_k_small(block, j);
    (half_at(block, 0) * f32::from(scale), half_at(block, 2) * f32::from(minimum))
}

/// The 6-bit sub-scale and sub-minimum `j` of a Q4_K block's 12 packed bytes.
#[inline(always)]
pub(super) fn q4_k_small(block: &[u8; 144], j: usize) -> (u8, u8) {
    let packed = &block[4..16];
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    }
}

#[inline(always)]
fn q4_k(block: &[u8; 144], quants: &mut [u8; 256]) {
    let (bytes, _) = block[16..].as_chunks::<32>();
    for (bytes, quants) in bytes.iter().zip(quants.as_chunks_mut::<64>().0) {
        for j in 0..32 {
            quants[j] = bytes[j] & 15;
            quants[j + 32] = bytes[j] >> 4;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8; 210], quants: &mut [u8; 256]) {
    let (low, _) = block[..128].as_chunks::<64>();
    let (high, _) = block[128..192].as_chunks::<32>();
    for ((low, high), quants) in low.iter().zip(high).zip(quants.as_chunks_mut::<128>().0) {
        for j in 0..32 {
            quants[j] = low[j] & 15 | (high[j] & 3) << 4;
            quants[j + 32] = low[j + 32] & 15 | (high[j] >> 2 & 3) << 4;
            quants[j + 64] = low[j] >> 4 | (high[j] >> 4 & 3) << 4;
            quants[j + 96] = low[j + 32] >> 4 | high[j] >> 6 << 4;
        }
    }
}

/// Writes the values of `data`, one row in `format`, into `out`.
pub(crate) fn dequantize(format: Format, data: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (value, bytes) in out.iter_mut().zip(data.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Format::F16 => {
            for (value, bytes) in out.iter_mut().zip(data.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Format::Q4_0 => dequantize_blocks(data, out, 8, q4_0),
        Format::Q5_0 => dequantize_blocks(data, out, 16, q5_0),
        Format::Q8_0 => {
            for (block, out) in data.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
                let scale = half_at(block, 0);
                let bytes = &block[2..];
                out.iter_mut().zip(bytes).for_each(|(out, b)| *out = scale * f32::from(b.cast_signed()));
            }
        }
        Format::Q4K => {
            let mut quants = [0; 256];
            for (block, out) in data.as_chunks::<144>().0.iter().zip(out.as_chunks_mut::<256>().0) {
                q4_k(block, &mut quants);
                let (quants, _) = quants.as_chunks::<BLOCK>();
                for (j, (out, quants)) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(quants).enumerate() {
                    let (scale, minimum) = q4_k_scale_min(block, j);
                    out.iter_mut().zip(quants).for_each(|(out, q)| *out = scale * f32::from(*q) - minimum);
                }
            }
        }
        Format::Q6K => {
            let mut quants = [0; 256];
            for (block, out) in data.as_chunks::<210>().0.iter().zip(out.as_chunks_mut::<256>().0) {
                let scale = half_at(block, 208);
                q6_k(block, &mut quants);
                for (j, (value, quant)) in out.iter_mut().zip(quants).enumerate() {
                    let subscale = f32::from(block[192 + j / HALF].cast_signed());
                    *value = scale * (subscale * (f32::from(quant) - 32.0));
                }
            }
        }
    }
}

#[inline(always)]
fn dequantize_blocks<const BYTES: usize>(
    data: &[u8],
    out: &mut [f32],
    offset: u8,
    decode: impl Fn(&[u8; BYTES], &mut [u8; BLOCK]),
) {
    let mut quants = [0; BLOCK];
    for (block, out) in data.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
        decode(block, &mut quants);
        let scale = half_at(block, 0);
        for (value, quant) in out.iter_mut().zip(quants) {
            *value = scale * f32::from(quant.wrapping_sub(offset).cast_signed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_half_crates() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half_at(&bits.to_le_bytes(), 0), f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(),
                "{bits:04x}: {ours}, half {theirs}"
            );
        }
    }
}
