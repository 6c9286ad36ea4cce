// Q4_K: quants [tiles, blocks, 32 rows, 4 words of nibbles]; scales [tiles, blocks / 8, 32 rows, 5 words]: scale and minimum
// as floats, then the file's 12 bytes of 6-bit factors, eight for the scale and eight for the minimum; no high.

fn factor_byte(header: u32, index: u32) -> u32 {
  return (scales[header + 2u + index / 4u] >> (8u * (index % 4u))) & 255u;
}

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let header = 5u * ((tile * (blocks / 8u) + block / 8u) * 32u + cell % 32u);
  let j = block % 8u;
  var factors: vec2<u32>;
  if (j < 4u) {
    factors = vec2<u32>(factor_byte(header, j) & 63u, factor_byte(header, j + 4u) & 63u);
  } else {
    let both = factor_byte(header, j + 4u);
    let tops = vec2<u32>(factor_byte(header, j - 4u), factor_byte(header, j)) >> vec2<u32>(6u);
    factors = vec2<u32>(both & 15u, both >> 4u) | (tops << vec2<u32>(4u));
  }
  let units = bitcast<vec2<f32>>(vec2<u32>(scales[header], scales[header + 1u])) * vec2<f32>(factors);
  return units.x * vec4<f32>(nibbles(cell, quad)) - units.y;
}
