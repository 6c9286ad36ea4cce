// Q8_0: quants [tiles, blocks, 32 rows, 8 words of signed bytes]; scales [tiles, blocks, 32 floats]; no high.

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let word = bitcast<i32>(quants[8u * cell + quad]);
  let bytes = (vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return block_scale(cell) * vec4<f32>(bytes);
}
