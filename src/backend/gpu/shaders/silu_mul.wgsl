// gate = gate / (1 + exp(-gate)) * up.

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> up: array<f32>;         // [count]
@group(0) @binding(2) var<storage, read_write> gate: array<f32>; // [count]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at >= p.count) {
    return;
  }
  let value = gate[at];
  // Clamped: beyond it floats end, and what a shader makes of an infinity is its own business.
  gate[at] = value * up[at] / (1.0 + exp(min(-value, 80.0)));
}
