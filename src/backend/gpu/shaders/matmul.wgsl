// y = x w^T (+ bias), or y += x w^T. The formats' files (weights_*.wgsl) define `weights`, which reads w.
//
// A workgroup makes 32 x 32 values of y, 32 columns of x and w at a time: both tiles go through workgroup memory, w as the
// floats that its format stands for, and each of the 64 threads adds up 4 x 4 values in registers.

struct Params {
  rows: u32,       // of x and y
  outs: u32,       // columns of y, rows of w
  width: u32,      // columns of x and w, a multiple of 4
  has_bias: u32,
  accumulate: u32, // y += instead of y =
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;      // [rows, width / 4]
@group(0) @binding(2) var<storage, read> quants: array<u32>;       // [tiles, blocks, 32, words of a block]
@group(0) @binding(3) var<storage, read> scales: array<u32>;       // the format's
@group(0) @binding(4) var<storage, read> high: array<u32>;         // the format's
@group(0) @binding(5) var<storage, read> bias: array<f32>;         // [outs], or anything
@group(0) @binding(6) var<storage, read_write> y: array<f32>;      // [rows, outs]

var<workgroup> xs: array<vec4<f32>, 256>; // [32 columns, 32 rows / 4]
var<workgroup> ws: array<vec4<f32>, 256>; // [32 columns, 32 rows / 4]

fn x_at(row: u32, quad: u32) -> vec4<f32> {
  if (row < p.rows && 4u * quad < p.width) {
    return x[row * (p.width / 4u) + quad];
  }
  return vec4<f32>();
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tile = group.x;
  let first = 32u * group.y;
  let blocks = (p.width + 31u) / 32u;
  // While loading: four rows, four columns. While multiplying: four rows of x, four of w.
  let high_part = thread / 8u;
  let low_part = thread % 8u;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var block = 0u; block < blocks; block++) {
    let row = first + 4u * high_part;
    let quad = 8u * block + low_part;
    var x4 = transpose(mat4x4<f32>(x_at(row, quad), x_at(row + 1u, quad), x_at(row + 2u, quad), x_at(row + 3u, quad)));
    let cell = (tile * blocks + block) * 32u + 4u * high_part;
    var w4 = transpose(mat4x4<f32>(
      weights(tile, block, blocks, cell, low_part),
      weights(tile, block, blocks, cell + 1u, low_part),
      weights(tile, block, blocks, cell + 2u, low_part),
      weights(tile, block, blocks, cell + 3u, low_part),
    ));
    for (var k = 0u; k < 4u; k++) {
      xs[(4u * low_part + k) * 8u + high_part] = x4[k];
      ws[(4u * low_part + k) * 8u + high_part] = w4[k];
    }
    workgroupBarrier();
    for (var k = 0u; k < 32u; k++) {
      let a = xs[8u * k + high_part];
      let w = ws[8u * k + low_part];
      sum0 = fma(vec4<f32>(a.x), w, sum0);
      sum1 = fma(vec4<f32>(a.y), w, sum1);
      sum2 = fma(vec4<f32>(a.z), w, sum2);
      sum3 = fma(vec4<f32>(a.w), w, sum3);
    }
    workgroupBarrier();
  }
  var sums = mat4x4<f32>(sum0, sum1, sum2, sum3);
  for (var i = 0u; i < 4u; i++) {
    let row = first + 4u * high_part + i;
    for (var j = 0u; j < 4u; j++) {
      let out = 32u * tile + 4u * low_part + j;
      if (row < p.rows && out < p.outs) {
        var value = sums[i][j];
        if (p.has_bias != 0u) {
          value += bias[out];
        }
        if (p.accumulate != 0u) {
          value += y[row * p.outs + out];
        }
        y[row * p.outs + out] = value;
      }
    }
  }
}
