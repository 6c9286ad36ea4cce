// One scale a block, as a float: scales [tiles, blocks, 32 rows].

fn block_scale(cell: u32) -> f32 {
  return bitcast<f32>(scales[cell]);
}
