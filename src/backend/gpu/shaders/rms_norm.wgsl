// y = x / sqrt(mean(x^2) + eps) * weight, row by row: a workgroup a row.

struct Params {
  width: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // [width]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [rows, width]

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * p.width;
  var squares = 0.0;
  for (var i = thread; i < p.width; i += 64u) {
    let value = x[start + i];
    squares = fma(value, value, squares);
  }
  parts[thread] = squares;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < 64u; i++) {
    sum += parts[i];
  }
  let scale = 1.0 / sqrt(sum / f32(p.width) + p.eps);
  for (var i = thread; i < p.width; i += 64u) {
    y[start + i] = x[start + i] * scale * weight[i];
  }
}
