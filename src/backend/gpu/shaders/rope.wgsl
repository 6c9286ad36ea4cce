// Rotates value i of each head with value i + half, in place.

struct Params {
  pairs: u32, // rows * width / 2
  width: u32,
  half: u32,  // half a head's width
  rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> angles: array<f32>;  // [2, rows, half]: cosines, then sines
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // [rows, width]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at >= p.pairs) {
    return;
  }
  let row = at / (p.width / 2u);
  let pair = at % (p.width / 2u);
  let i = pair % p.half;
  let low = row * p.width + pair / p.half * 2u * p.half + i;
  let angle = row * p.half + i;
  let c = angles[angle];
  let s = angles[p.rows * p.half + angle];
  let a = x[low];
  let b = x[low + p.half];
  x[low] = a * c - b * s;
  x[low + p.half] = b * c + a * s;
}
