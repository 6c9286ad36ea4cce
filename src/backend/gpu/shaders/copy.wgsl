// Values to another place: new slots into a KV cache, or a cache into a larger one.

struct Params {
  count: u32,
  to: u32, // where in `destination` the first goes
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;            // [count] or more
@group(0) @binding(2) var<storage, read_write> destination: array<f32>; // [to + count] or more

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = id.x + 64u * groups.x * id.y;
  if (at < p.count) {
    destination[p.to + at] = source[at];
  }
}
