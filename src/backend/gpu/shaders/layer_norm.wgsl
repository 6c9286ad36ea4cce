// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, row by row: a workgroup a row.

struct Params {
  width: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // [width]
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // [width]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [rows, width]

var<workgroup> parts: array<f32, 64>;

fn total(thread: u32, part: f32) -> f32 {
  workgroupBarrier();
  parts[thread] = part;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < 64u; i++) {
    sum += parts[i];
  }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let start = group.x * p.width;
  var part = 0.0;
  for (var i = thread; i < p.width; i += 64u) {
    part += x[start + i];
  }
  let mean = total(thread, part) / f32(p.width);
  part = 0.0;
  for (var i = thread; i < p.width; i += 64u) {
    let value = x[start + i] - mean;
    part = fma(value, value, part);
  }
  let scale = 1.0 / sqrt(total(thread, part) / f32(p.width) + p.eps);
  for (var i = thread; i < p.width; i += 64u) {
    y[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
}
