// The given rows of x, in that order.

struct Params {
  count: u32, // chosen * width
  width: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read> chosen: array<u32>;  // [chosen]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [chosen, width]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at < p.count) {
    y[at] = x[chosen[at / p.width] * p.width + at % p.width];
  }
}
