//! Where tensors live and what can be done with them.
//!
//! A model's forward pass is written once, in the coarse operations of [`Backend`]; a backend knows slices and
//! shapes and nothing of the model. What a device computes comes back at one place, [`Backend::read`], which begins the
//! transfer, and [`Backend::take`], which ends it: at once on the CPU, and on a device wherever one may wait for it. In a
//! browser nobody may, so there a pass goes on when a [`Signal`] says so.

mod buffer;
pub mod cpu;
#[cfg(feature = "webgpu")]
pub mod gpu;
mod signal;
mod visible;

use crate::quant::QuantMatrix;
use crate::{IntentError, Result};
pub use buffer::Buffer;
pub use signal::Signal;
pub use visible::Visible;

/// Shape of an attention layer with grouped keys and values (GQA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; divides `query`.
    pub kv: usize,
    /// Width of a head, even.
    pub dim: usize,
}

/// Rotary angles of the rows of one batch, shared by all layers.
pub struct RopeTable {
    /// Half a head's width.
    pub half: usize,
    /// `[rows, half]`.
    pub cos: Buffer,
    /// `[rows, half]`.
    pub sin: Buffer,
}

impl RopeTable {
    /// Angles `position * base^(-2i / dim)` (Su et al. 2021, arXiv 2104.09864).
    #[must_use]
    pub fn new(positions: &[usize], dim: usize, base: f32) -> Self {
        let half = dim / 2;
        let (mut cos, mut sin) = (Buffer::new(positions.len() * half), Buffer::new(positions.len() * half));
        for i in 0..half {
            let frequency = f64::from(base).powf(-2.0 * i as f64 / dim as f64);
            for (row, position) in positions.iter().enumerate() {
                let angle = *position as f64 * frequency;
                (cos[row * half + i], sin[row * half + i]) = (angle.cos() as f32, angle.sin() as f32);
            }
        }
        Self { half, cos, sin }
    }
}

/// What has become of values on their way back.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// Here they are.
    Values(Buffer),
    /// They are there when the signal says so.
    Later(Signal),
}

impl Taken {
    /// The values, for callers that can't come back later.
    ///
    /// # Errors
    /// `unavailable` where they are not there yet, as in a browser with a device's.
    pub fn now(self) -> Result<Buffer> {
        match self {
            Self::Values(values) => Ok(values),
            Self::Later(_) => Err(IntentError::Unavailable(
                "this backend answers later: it has to be asked in steps".to_owned(),
            )),
        }
    }
}

/// Operations of a transformer's forward pass. Activations are f32, `[rows, cols]`, row-major.
pub trait Backend: Send + 'static {
    /// Activations.
    type Tensor: Send;
    /// A weight matrix `[out, in]`.
    type Matrix: Send + Sync;
    /// A weight vector.
    type Vector: Send;
    /// Keys and values of one layer, `[slots, kv heads * head dim]` each.
    type KvLayer: Send;
    /// A low-rank path beside a weight matrix.
    type LowRank: Send;
    /// Rotary angles of a batch.
    type Angles: Send;
    /// What the rows of a batch see.
    type Mask: Send;
    /// Values on their way back.
    type Reading: Send;

    /// Name as results report it, with the instruction set.
    fn name(&self) -> String;
    /// Threads at work.
    fn threads(&self) -> usize;

    /// Takes a weight matrix over.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn matrix(&self, matrix: QuantMatrix) -> Result<Self::Matrix>;
    /// Takes a weight vector over.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn vector(&self, vector: Vec<f32>) -> Result<Self::Vector>;
    /// Takes activations `[rows, cols]` over.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn tensor(&self, rows: usize, cols: usize, values: Buffer) -> Result<Self::Tensor>;
    /// Takes rotary angles over.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn angles(&self, table: RopeTable) -> Result<Self::Angles>;
    /// Takes over what each row sees.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn mask(&self, rows: Visible) -> Result<Self::Mask>;
    /// Begins to bring activations back, `[rows, cols]` row-major.
    ///
    /// # Errors
    /// Where the device failed.
    fn read(&self, x: &Self::Tensor) -> Result<Self::Reading>;
    /// Goes on with it. Values are handed out once.
    ///
    /// # Errors
    /// `device_lost`, `out_of_memory`, `inference`: where anything of the device ever failed.
    fn take(&self, reading: &mut Self::Reading) -> Result<Taken>;

    /// What to wait for until a device has done all that it was asked for; nothing where that is so.
    fn under_way(&self) -> Option<Signal> {
        None
    }

    /// Whether activations are rounded as the kernels of [`quant`](crate::quant) do, and added in their order: what golden
    /// answers are made with.
    fn is_golden_order(&self) -> bool;

    /// Whether weights are to be handed over as they arrive, because they end up elsewhere than in the host's memory.
    fn takes_early(&self) -> bool {
        false
    }

    /// The same backend for a model that is small enough to be kept in whatever form is fastest.
    #[must_use]
    fn for_small_model(self) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// `x w^T (+ bias)`: `[m, in]` times `[out, in]` gives `[m, out]`.
    fn linear(&self, x: &Self::Tensor, w: &Self::Matrix, bias: Option<&Self::Vector>) -> Self::Tensor {
        let [y] = self.linears(x, [(w, bias)]);
        y
    }
    /// Several of them with the same `x`, which is prepared once.
    fn linears<const N: usize>(
        &self,
        x: &Self::Tensor,
        parts: [(&Self::Matrix, Option<&Self::Vector>); N],
    ) -> [Self::Tensor; N];
    /// Takes a low-rank path over: `a` is `[rank, in]`, `b` is `[out, rank]`.
    ///
    /// # Errors
    /// `invalid_argument` where they are not of that rank, `out_of_memory`.
    fn low_rank(&self, rank: usize, a: &[f32], b: &[f32], scale: f32) -> Result<Self::LowRank>;
    /// `y += scale * (x a^T) b^T` (Hu et al. 2021, arXiv 2106.09685).
    fn add_low_rank(&self, y: &mut Self::Tensor, x: &Self::Tensor, path: &Self::LowRank);
    /// `x / rms(x) * weight` per row (Zhang and Sennrich 2019, arXiv 1910.07467).
    fn rms_norm(&self, x: &Self::Tensor, weight: &Self::Vector, eps: f32) -> Self::Tensor;
    /// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` per row, the variance being the mean square (Ba et al. 2016,
    /// arXiv 1607.06450).
    fn layer_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Vector,
        bias: &Self::Vector,
        eps: f32,
    ) -> Self::Tensor;
    /// Rotates each head of `x` (`[rows, n * head dim]`), pairing value `i` with `i + dim / 2` (the NeoX order).
    fn rope(&self, x: &mut Self::Tensor, angles: &Self::Angles);
    /// `silu(gate) * up`, elementwise, into `gate` (Shazeer 2020, arXiv 2002.05202).
    fn silu_mul(&self, gate: &mut Self::Tensor, up: &Self::Tensor);
    /// `x / 2 * (1 + erf(x / sqrt(2)))`, elementwise (Hendrycks and Gimpel 2016, arXiv 1606.08415), to an absolute error
    /// of `3e-7 * |x|`.
    fn gelu(&self, x: &mut Self::Tensor);
    /// The mean over all rows, `[1, cols]`.
    fn mean_rows(&self, x: &Self::Tensor) -> Self::Tensor;
    /// `x += y`.
    fn add(&self, x: &mut Self::Tensor, y: &Self::Tensor);
    /// The given rows of `x`, in that order.
    fn select_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Self::Tensor;

    /// An empty layer of a KV cache.
    fn kv_layer(&self) -> Self::KvLayer;
    /// Forgets all slots from `slots` on.
    fn kv_truncate(&self, layer: &mut Self::KvLayer, slots: usize, heads: Heads);
    /// Appends the rows of `k` and `v` as new slots.
    ///
    /// # Errors
    /// `out_of_memory`.
    fn kv_append(&self, layer: &mut Self::KvLayer, k: &Self::Tensor, v: &Self::Tensor) -> Result<()>;
    /// Scaled dot-product attention of each row of `q` (`[rows, query heads * dim]`) over the slots it may see.
    fn attention(
        &self,
        q: &Self::Tensor,
        layer: &Self::KvLayer,
        mask: &Self::Mask,
        heads: Heads,
    ) -> Self::Tensor;
}
