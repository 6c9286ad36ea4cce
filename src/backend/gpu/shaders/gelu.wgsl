// x = x / 2 * (1 + erf(x / sqrt(2))); erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>; // [count]

fn erf(x: f32) -> f32 {
  let size = abs(x);
  let t = 1.0 / (1.0 + 0.3275911 * size);
  let series = 0.2548296 + t * (-0.28449673 + t * (1.4214137 + t * (-1.453152 + t * 1.0614054)));
  return sign(x) * (1.0 - t * series * exp(max(-size * size, -80.0)));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at < p.count) {
    let value = x[at];
    x[at] = 0.5 * value * (1.0 + erf(value * 0.70710678));
  }
}
