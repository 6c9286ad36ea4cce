//! The operations that the network is made of, forwards and backwards, on any device.

use candle_core::{DType, Result, Tensor, bail};

use crate::backend::Heads;
use crate::train::ops::Dropout;
use crate::train::ops::decoder::Tiles;
pub use crate::train::ops::decoder::{Block, Part, Tree};

/// A frozen matrix; several that take the same input are one, their rows under each other.
pub struct Frozen {
    /// `[out, in]`
    pub weight: Weight,
    /// `[out]`
    pub bias: Option<Tensor>,
    /// The low-rank paths beside it, in the order of their columns.
    pub parts: Vec<Part>,
}

/// The values of a frozen matrix, `[out, in]`.
pub struct Weight(pub(super) Values);

pub(super) enum Values {
    Floats(Tensor),
    /// In main memory; rounded to bf16, as are operands of products with it.
    Tiles(Tiles),
}

impl Weight {
    /// Rows and columns.
    ///
    /// # Errors
    /// Those of candle.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match &self.0 {
            Values::Floats(tensor) => tensor.dims2(),
            Values::Tiles(tiles) => Ok(tiles.shape()),
        }
    }

    pub(super) fn floats(&self) -> Result<&Tensor> {
        match &self.0 {
            Values::Floats(tensor) => Ok(tensor),
            Values::Tiles(_) => bail!("a matrix in bf16 tiles, which only operations in main memory take"),
        }
    }

    pub(super) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.floats()?.to_dtype(dtype).map(Values::Floats).map(Self)
    }
}

/// What is trained beside a [`Frozen`]: to the columns of each part it adds `scale * (dropout(x) A') B'`.
pub struct LowRank {
    /// `[parts * rank, in]`
    pub a: Tensor,
    /// `[sum of the parts' columns, rank]`
    pub b: Tensor,
    /// Rank of each part.
    pub rank: usize,
    /// Factor of each path.
    pub scale: f64,
    /// Dropout of what the paths see.
    pub dropout: Dropout,
}

/// Gradients of a linear layer; the frozen matrix has none.
#[derive(Default)]
pub struct OfLinear {
    /// Of the operand, where it was asked for.
    pub x: Option<Tensor>,
    /// Of `A` and `B`, where there are any.
    pub low: Option<[Tensor; 2]>,
}

/// Operations on activations, `[rows, width]` each. Backward passes recompute what they need of the operands.
pub trait Kernels: Send + Sync {
    /// `x W' + b`, and the low-rank paths.
    ///
    /// # Errors
    /// Those of candle, as everywhere below.
    fn linear(&self, frozen: &Frozen, low: Option<&LowRank>, x: &Tensor) -> Result<Tensor>;

    /// Gradients of [`linear`](Self::linear).
    ///
    /// # Errors
    /// Those of candle.
    fn linear_backward(
        &self,
        frozen: &Frozen,
        low: Option<&LowRank>,
        x: &Tensor,
        gradient: &Tensor,
        of_x: bool,
    ) -> Result<OfLinear>;

    /// `x / rms(x) * weight`, row by row.
    ///
    /// # Errors
    /// Those of candle.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor>;

    /// `plus` and the gradient of `x`.
    ///
    /// # Errors
    /// Those of candle.
    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f64,
        gradient: &Tensor,
        plus: &Tensor,
    ) -> Result<Tensor>;

    /// `silu(gate) * up` of `[gate, up]`.
    ///
    /// # Errors
    /// Those of candle.
    fn swiglu(&self, gate_up: &Tensor) -> Result<Tensor>;

    /// Gradient of `gate_up`.
    ///
    /// # Errors
    /// Those of candle.
    fn swiglu_backward(&self, gate_up: &Tensor, gradient: &Tensor) -> Result<Tensor>;

    /// Attention with rotary positions over `tree`, `[rows, query heads * dim]`, of `[queries, keys, values]`.
    ///
    /// # Errors
    /// Those of candle.
    fn attention(&self, qkv: &Tensor, tree: &Tree, heads: Heads) -> Result<Tensor>;

    /// Gradient of `qkv`.
    ///
    /// # Errors
    /// Those of candle.
    fn attention_backward(
        &self,
        qkv: &Tensor,
        tree: &Tree,
        heads: Heads,
        gradient: &Tensor,
    ) -> Result<Tensor>;

    /// `x + y`
    ///
    /// # Errors
    /// Those of candle.
    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor>;
}
