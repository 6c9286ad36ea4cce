// F16: quants [tiles, blocks, 32 rows, 16 pairs of halves]; no scales, no high.

// A half as a float. By integers, because `unpack2x16float` may make zeros of the smallest halves.
fn half_to_float(bits: u32) -> f32 {
  let size = bits & 0x7fffu;
  let small = f32(size) * 0.000000059604644775390625 /* 2^-24 */;
  let usual = bitcast<f32>((size << 13u) + (112u << 23u));
  let value = select(usual, small, size < 0x400u);
  return select(value, -value, (bits & 0x8000u) != 0u);
}

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let a = quants[16u * cell + 2u * quad];
  let b = quants[16u * cell + 2u * quad + 1u];
  return vec4<f32>(half_to_float(a & 0xffffu), half_to_float(a >> 16u), half_to_float(b & 0xffffu), half_to_float(b >> 16u));
}
