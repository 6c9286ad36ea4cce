// The mean over all rows.

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [width]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.width) {
    return;
  }
  var sum = 0.0;
  for (var row = 0u; row < p.rows; row++) {
    sum += x[row * p.width + id.x];
  }
  y[id.x] = sum / f32(p.rows);
}
