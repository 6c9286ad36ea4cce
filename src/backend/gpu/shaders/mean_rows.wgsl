// The mean over all rows.

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [width]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at >= p.width) {
    return;
  }
  var sum = 0.0;
  for (var row = 0u; row < p.rows; row++) {
    sum += x[row * p.width + at];
  }
  y[at] = sum / f32(p.rows);
}
