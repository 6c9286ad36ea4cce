// Q6_K: quants [tiles, blocks, 32 rows, 4 words of nibbles]; high [tiles, blocks, 32 rows, 2 words], the upper two bits, the
// first column lowest; together centred on 32; scales [tiles, blocks / 8, 32 rows, 5 words]: a float, then 16 signed bytes,
// one for 16 columns.

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let header = 5u * ((tile * (blocks / 8u) + block / 8u) * 32u + cell % 32u);
  let part = 2u * (block % 8u) + quad / 4u;
  let word = bitcast<i32>(scales[header + 1u + part / 4u]);
  let factor = f32((word << (24u - 8u * (part % 4u))) >> 24u);
  let tops = (vec4<u32>(high[2u * cell + quad / 4u] >> (8u * (quad % 4u))) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
  let integers = vec4<f32>(nibbles(cell, quad) | (tops << vec4<u32>(4u))) - 32.0;
  return bitcast<f32>(scales[header]) * factor * integers;
}
