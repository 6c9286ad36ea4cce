// F32: quants [tiles, blocks, 32 rows, 32 floats]; no scales, no high.

fn weights(tile: u32, block: u32, blocks: u32, cell: u32, quad: u32) -> vec4<f32> {
  let at = 32u * cell + 4u * quad;
  return bitcast<vec4<f32>>(vec4<u32>(quants[at], quants[at + 1u], quants[at + 2u], quants[at + 3u]));
}
