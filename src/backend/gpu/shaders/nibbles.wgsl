// 4-bit parts: a block's 32 columns in 4 words, the first column lowest.

fn nibbles(cell: u32, quad: u32) -> vec4<u32> {
  let word = quants[4u * cell + quad / 2u] >> (16u * (quad % 2u));
  return (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
}
