// Q5_0: quants [tiles, blocks, 32 rows, 4 words of nibbles]; high [tiles, blocks, 32 rows], the fifth bits, the first column
// lowest; together centred on 16; scales [tiles, blocks, 32 floats].

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let fifth = (vec4<u32>(high[cell] >> (4u * quad)) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
  return block_scale(cell) * (vec4<f32>(nibbles(cell, quad) | (fifth << vec4<u32>(4u))) - 16.0);
}
