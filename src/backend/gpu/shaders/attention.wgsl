// softmax(q k / sqrt(dim)) v over the slots that a row may see: a workgroup a query head and row, 64 slots at a time. The
// sums so far are scaled whenever a larger score comes (Milakov and Gimelshein 2018, arXiv 1805.02867).

struct Params {
  query: u32, // query heads
  kv: u32,    // key/value heads
  dim: u32,   // width of a head, at most 256
  rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;       // [rows, query * dim]
@group(0) @binding(2) var<storage, read> keys: array<f32>;    // [slots, kv * dim]
@group(0) @binding(3) var<storage, read> values: array<f32>;  // [slots, kv * dim]
@group(0) @binding(4) var<storage, read> visible: array<u32>; // [rows + 1] where a row's ranges begin, then [ranges, 2]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [rows, query * dim]

var<workgroup> own: array<f32, 256>;
var<workgroup> weights: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = group.x;
  let row = group.y;
  let stride = p.kv * p.dim;
  let offset = head / (p.query / p.kv) * p.dim;
  let start = (row * p.query + head) * p.dim;
  let scale = 1.0 / sqrt(f32(p.dim));
  for (var d = thread; d < p.dim; d += 64u) {
    own[d] = scale * q[start + d];
  }
  workgroupBarrier();
  var largest = -1e30;
  var sum = 0.0;
  var out = vec4<f32>(); // dimensions thread, thread + 64, ...
  for (var range = visible[row]; range < visible[row + 1u]; range++) {
    let begin = visible[p.rows + 1u + 2u * range];
    let end = visible[p.rows + 2u + 2u * range];
    for (var base = begin; base < end; base += 64u) {
      let count = min(64u, end - base);
      var score = -1e30;
      if (thread < count) {
        score = 0.0;
        let at = (base + thread) * stride + offset;
        for (var d = 0u; d < p.dim; d++) {
          score = fma(own[d], keys[at + d], score);
        }
      }
      weights[thread] = score;
      workgroupBarrier();
      var most = largest;
      for (var i = 0u; i < count; i++) {
        most = max(most, weights[i]);
      }
      workgroupBarrier();
      weights[thread] = exp(score - most);
      workgroupBarrier();
      let shrink = exp(largest - most);
      largest = most;
      sum *= shrink;
      out *= shrink;
      for (var i = 0u; i < count; i++) {
        let weight = weights[i];
        sum += weight;
        let at = (base + i) * stride + offset + thread;
        for (var part = 0u; 64u * part + thread < p.dim; part++) {
          out[part] = fma(weight, values[at + 64u * part], out[part]);
        }
      }
      workgroupBarrier();
    }
  }
  for (var part = 0u; 64u * part + thread < p.dim; part++) {
    y[start + 64u * part + thread] = out[part] / sum;
  }
}
