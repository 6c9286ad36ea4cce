// Q4_0: quants [tiles, blocks, 32 rows, 4 words of nibbles centred on 8]; scales [tiles, blocks, 32 floats]; no high.

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  return block_scale(cell) * (vec4<f32>(nibbles(cell, quad)) - 8.0);
}
