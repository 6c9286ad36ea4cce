//! Qwen2, differentiable with respect to low-rank paths beside its frozen matrices.
//!
//! A batch is one packed tree: the constant prefix once, then every example behind it, seeing the prefix and itself. So
//! the prefix is computed, and differentiated, once a batch. There is no graph: each layer keeps what its own backward
//! pass reads, or only its operand (activation checkpointing), and frozen matrices have no gradients. The arithmetic is
//! that of [`crate::model::qwen2`], which a test compares with.

mod backward;
mod composed;
mod fused;
mod kernels;
mod read;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::ops::Dropout;
use super::ops::decoder::is_bf16_fast;
use super::parameters::Weights;
use crate::adapter::Projection;
use crate::gguf::Gguf;
use crate::model::TokenId;
use crate::model::qwen2::Qwen2Config;
use crate::quant::QuantMatrix;
use backward::Pass;
pub use composed::Composed;
pub use fused::Fused;
pub use kernels::{Block, Frozen, Kernels, LowRank, OfLinear, Part, Tree, Weight};
use read::{read_layer, vector};

/// Which low-rank paths there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    /// Their rank.
    pub rank: usize,
    /// Their factor.
    pub scale: f64,
    /// The projections that have one, in the order of [`Projection::ALL`].
    pub projections: Vec<Projection>,
    /// The layers from this one on have them.
    pub first_layer: usize,
}

/// How products with frozen matrices are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Products {
    /// In 32-bit floats.
    F32,
    /// Matrices and operands rounded to bf16, sums in f32; for CPUs with instructions for it (Intel AMX, AVX-512 BF16),
    /// very slow on others.
    Bf16,
}

impl Products {
    /// The faster of them on this machine.
    #[must_use]
    pub fn fastest() -> Self {
        if is_bf16_fast() { Self::Bf16 } else { Self::F32 }
    }
}

/// Projections that take the same input, and are one matrix here.
pub const GROUPS: [(&str, &[Projection]); 4] = [
    ("qkv", &[Projection::Query, Projection::Key, Projection::Value]),
    ("o", &[Projection::Output]),
    ("gate_up", &[Projection::Gate, Projection::Up]),
    ("down", &[Projection::Down]),
];

/// Name of the matrix `A` or `B` (`matrix` is `a` or `b`) of a group's paths in a layer.
#[must_use]
pub fn parameter_name(layer: usize, group: &str, matrix: &str) -> String {
    format!("layers.{layer}.{group}.{matrix}")
}

/// One forward pass.
pub struct Batch {
    /// One a row.
    pub tokens: Vec<TokenId>,
    /// Who sees whom.
    pub tree: Tree,
    /// Rows whose hidden states are wanted.
    pub outputs: Vec<usize>,
}

/// Dropout of what the low-rank paths see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Rate; 0 for none.
    pub rate: f32,
    /// Another for each pass.
    pub seed: u64,
}

impl Noise {
    /// None.
    pub const OFF: Self = Self { rate: 0.0, seed: 0 };

    fn at(self, place: usize) -> Dropout {
        // Odd multiples of a large number keep the streams of places apart.
        let place = (place as u64).wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Dropout { rate: self.rate, seed: self.seed ^ place }
    }
}

/// What a forward pass keeps for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: there will be none.
    Nothing,
    /// Each layer's operand; the backward pass computes the layer again.
    Operands,
    /// Everything.
    Everything,
}

struct Layer {
    attn_norm: Tensor,
    ffn_norm: Tensor,
    /// In the order of [`GROUPS`].
    groups: [Frozen; 4],
}

/// What a layer's backward pass reads.
struct Activations {
    x: Tensor,
    normed: Tensor,
    qkv: Tensor,
    /// What attention gave, in the last layer its wanted rows.
    seen: Tensor,
    middle: Tensor,
    ffn_normed: Tensor,
    gate_up: Tensor,
    inner: Tensor,
}

enum Kept {
    Operand(Tensor),
    Everything(Box<Activations>),
}

/// What a forward pass kept.
pub struct Trace {
    /// From the first layer with paths on.
    layers: Vec<Kept>,
    /// Before the last norm, `[outputs, hidden]`.
    last: Tensor,
}

/// The frozen network.
pub struct Network {
    config: Qwen2Config,
    paths: Paths,
    embedding: Arc<QuantMatrix>,
    output: Arc<QuantMatrix>,
    layers: Vec<Layer>,
    norm: Tensor,
    kernels: Box<dyn Kernels>,
}

impl Network {
    /// Takes the weights out of `gguf` to `device`, which computes in f32 if it is not the CPU; embedding and output matrix stay as they are.
    ///
    /// # Errors
    /// `invalid_tensor`, `training` where memory runs out.
    pub fn new(
        gguf: &mut Gguf,
        config: Qwen2Config,
        paths: Paths,
        device: &Device,
        products: Products,
    ) -> crate::Result<Self> {
        let embedding = Arc::new(gguf.take("token_embd.weight", config.vocab, config.hidden)?);
        let output = if gguf.tensors.contains_key("output.weight") {
            Arc::new(gguf.take("output.weight", config.vocab, config.hidden)?)
        } else {
            Arc::clone(&embedding)
        };
        let norm = vector(gguf, &["output_norm.weight".to_owned()], config.hidden, device)?;
        let layers = (0..config.layers)
            .map(|layer| read_layer(gguf, &config, &paths, layer, (device, products)))
            .collect::<crate::Result<_>>()?;
        let kernels: Box<dyn Kernels> = if device.is_cpu() { Box::new(Fused) } else { Box::new(Composed) };
        Ok(Self { config, paths, embedding, output, layers, norm, kernels })
    }

    /// The same network with other operations, in the floating type `dtype`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn with(self, kernels: Box<dyn Kernels>, dtype: DType) -> Result<Self> {
        let convert = |tensor: Tensor| tensor.to_dtype(dtype);
        let frozen = |frozen: Frozen| {
            let bias = frozen.bias.map(convert).transpose()?;
            Result::Ok(Frozen { weight: frozen.weight.to_dtype(dtype)?, bias, parts: frozen.parts })
        };
        let layer = |Layer { attn_norm, ffn_norm, groups: [a, b, c, d] }| {
            let groups = [frozen(a)?, frozen(b)?, frozen(c)?, frozen(d)?];
            Ok(Layer { attn_norm: convert(attn_norm)?, ffn_norm: convert(ffn_norm)?, groups })
        };
        let layers = self.layers.into_iter().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, norm: convert(self.norm)?, kernels, ..self })
    }

    /// The model's sizes.
    #[must_use]
    pub fn config(&self) -> &Qwen2Config {
        &self.config
    }

    /// Its low-rank paths.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Where it is computed.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Names and shapes of what is trained, in the order of layers and [`GROUPS`], `A` before `B`.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, [usize; 2])> {
        let mut all = Vec::new();
        for layer in self.paths.first_layer..self.config.layers {
            for (group, members) in GROUPS {
                let parts: Vec<Projection> =
                    members.iter().copied().filter(|p| self.paths.projections.contains(p)).collect();
                if let Some(first) = parts.first() {
                    let out = parts.iter().map(|part| part.shape(&self.config)[0]).sum();
                    let ranks = parts.len() * self.paths.rank;
                    all.push((parameter_name(layer, group, "a"), [ranks, first.shape(&self.config)[1]]));
                    all.push((parameter_name(layer, group, "b"), [out, self.paths.rank]));
                }
            }
        }
        all
    }

    /// Rows `tokens` of the output matrix, `[tokens, hidden]`.
    ///
    /// # Errors
    /// Where a token is outside the vocabulary, and those of candle.
    pub fn head(&self, tokens: &[TokenId]) -> Result<Tensor> {
        self.rows(&self.output, tokens)
    }

    fn rows(&self, matrix: &QuantMatrix, tokens: &[TokenId]) -> Result<Tensor> {
        let hidden = self.config.hidden;
        let mut values = vec![0.0; tokens.len() * hidden];
        for (row, token) in values.chunks_exact_mut(hidden).zip(tokens) {
            if token.0 as usize >= self.config.vocab {
                bail!("token {} of {}", token.0, self.config.vocab);
            }
            matrix.dequantize_row(token.0 as usize, row);
        }
        let rows = Tensor::from_vec(values, (tokens.len(), hidden), &Device::Cpu)?;
        rows.to_dtype(self.norm.dtype())?.to_device(self.norm.device())
    }

    fn low(&self, weights: &Weights, layer: usize, group: usize, noise: Noise) -> Result<Option<LowRank>> {
        let frozen = self.layers.get(layer).and_then(|layer| layer.groups.get(group));
        if frozen.is_none_or(|frozen| frozen.parts.is_empty()) {
            return Ok(None);
        }
        let get = |matrix: &str| {
            let name = parameter_name(layer, GROUPS[group].0, matrix);
            match weights.get(&name) {
                Some(tensor) => Ok(tensor.detach()),
                None => bail!("no {name}"),
            }
        };
        Ok(Some(LowRank {
            a: get("a")?,
            b: get("b")?,
            rank: self.paths.rank,
            scale: self.paths.scale,
            dropout: noise.at(layer * GROUPS.len() + group),
        }))
    }

    /// Hidden states of the batch's outputs, normalised, `[outputs, hidden]`, and what was kept.
    ///
    /// # Errors
    /// Where the batch does not fit, and those of candle.
    pub fn forward(
        &self,
        weights: &Weights,
        batch: &Batch,
        noise: Noise,
        keep: Keep,
    ) -> Result<(Tensor, Trace)> {
        if batch.tokens.len() != batch.tree.rows()
            || batch.outputs.iter().any(|row| *row >= batch.tokens.len())
        {
            bail!("a batch of {} tokens and {} rows", batch.tokens.len(), batch.tree.rows());
        }
        let mut x = self.rows(&self.embedding, &batch.tokens)?;
        let mut layers = Vec::new();
        for layer in 0..self.layers.len() {
            let operand = x.clone();
            let (y, activations) = self.layer(layer, weights, &x, batch, noise)?;
            if layer >= self.paths.first_layer {
                match keep {
                    Keep::Nothing => {}
                    Keep::Operands => layers.push(Kept::Operand(operand)),
                    Keep::Everything => layers.push(Kept::Everything(Box::new(activations))),
                }
            }
            x = y;
        }
        let hidden = self.kernels.rms_norm(&x, &self.norm, self.epsilon())?;
        Ok((hidden, Trace { layers, last: x }))
    }

    /// Gradients of the trained tensors by name, of those of the hidden states that [`forward`](Self::forward) gave.
    ///
    /// # Errors
    /// Where the forward pass kept nothing, and those of candle.
    pub fn backward(
        &self,
        weights: &Weights,
        batch: &Batch,
        noise: Noise,
        trace: Trace,
        gradient: &Tensor,
    ) -> Result<Weights> {
        if trace.layers.len() != self.layers.len().saturating_sub(self.paths.first_layer) {
            bail!("the forward pass has kept nothing");
        }
        let mut gradients = Weights::new();
        let zeros = trace.last.zeros_like()?;
        let mut of_x =
            self.kernels.rms_norm_backward(&trace.last, &self.norm, self.epsilon(), gradient, &zeros)?;
        for (layer, kept) in (self.paths.first_layer..self.layers.len()).zip(trace.layers).rev() {
            let activations = match kept {
                Kept::Everything(activations) => *activations,
                Kept::Operand(x) => self.layer(layer, weights, &x, batch, noise)?.1,
            };
            // Below the first layer with paths nothing is trained.
            let below = layer > self.paths.first_layer;
            let pass = Pass { network: self, weights, batch, noise, layer };
            match pass.backward(&activations, &of_x, below, &mut gradients)? {
                Some(of) => of_x = of,
                None => break,
            }
        }
        Ok(gradients)
    }

    fn epsilon(&self) -> f64 {
        f64::from(self.config.rms_eps)
    }

    fn layer(
        &self,
        index: usize,
        weights: &Weights,
        x: &Tensor,
        batch: &Batch,
        noise: Noise,
    ) -> Result<(Tensor, Activations)> {
        let Some(layer) = self.layers.get(index) else { bail!("no layer {index}") };
        let k = &*self.kernels;
        let linear = |group: usize, x: &Tensor| {
            k.linear(&layer.groups[group], self.low(weights, index, group, noise)?.as_ref(), x)
        };
        let normed = k.rms_norm(x, &layer.attn_norm, self.epsilon())?;
        let qkv = linear(0, &normed)?;
        let mut seen = k.attention(&qkv, &batch.tree, self.config.heads)?;
        let mut stream = x.clone();
        if index + 1 == self.layers.len() {
            // After the last attention rows no longer meet: only those that are read go on.
            let rows = wanted(batch, x.device())?;
            (seen, stream) = (seen.index_select(&rows, 0)?, stream.index_select(&rows, 0)?);
        }
        let middle = k.add(&stream, &linear(1, &seen)?)?;
        let ffn_normed = k.rms_norm(&middle, &layer.ffn_norm, self.epsilon())?;
        let gate_up = linear(2, &ffn_normed)?;
        let inner = k.swiglu(&gate_up)?;
        let y = k.add(&middle, &linear(3, &inner)?)?;
        Ok((y, Activations { x: x.clone(), normed, qkv, seen, middle, ffn_normed, gate_up, inner }))
    }
}

/// The rows of a batch that are read, as an index.
fn wanted(batch: &Batch, device: &Device) -> Result<Tensor> {
    let rows: Vec<u32> =
        batch.outputs.iter().map(|row| u32::try_from(*row)).collect::<std::result::Result<_, _>>()?;
    let count = rows.len();
    Tensor::from_vec(rows, count, device)
}
