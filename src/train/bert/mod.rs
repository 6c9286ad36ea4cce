//! A BERT encoder (Devlin et al. 2019) with mean pooling and a linear head, differentiable.
//!
//! It computes on packed batches: see [`ops`](super::ops). The result is that of the padded form with a padding mask, which a
//! test compares with candle-transformers.

mod config;
pub mod weights;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};

use super::Weights;
use super::ops::{Attention, Bounds, Dropout, Embedding, Gelu, LayerNorm, Linear, Sink};
pub use config::BertConfig;

/// Messages one after the other.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Row of the word embedding of each token.
    pub rows: Arc<[u32]>,
    /// Where messages begin and end.
    pub bounds: Bounds,
}

impl Batch {
    /// Packs messages; none may be empty.
    #[must_use]
    pub fn new<'a>(messages: impl IntoIterator<Item = &'a [u32]> + Clone) -> Self {
        let bounds = Bounds::new(messages.clone().into_iter().map(<[u32]>::len));
        Self { rows: messages.into_iter().flatten().copied().collect(), bounds }
    }
}

/// Dropout of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Rate, of embeddings, attention weights and the outputs of sublayers; 0 for none.
    pub rate: f32,
    /// Another for each pass.
    pub seed: u64,
}

impl Noise {
    /// None.
    pub const OFF: Self = Self { rate: 0.0, seed: 0 };

    /// Dropout at a place of the network.
    fn at(self, place: u64) -> Dropout {
        // Odd multiples of a large number keep the streams of places apart.
        Dropout {
            rate: self.rate,
            seed: self.seed ^ place.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93),
        }
    }
}

/// What a forward pass gives.
pub struct Output {
    /// Means over each message's tokens, `[messages, width]`.
    pub pooled: Tensor,
    /// Scores of the labels, `[messages, labels]`.
    pub logits: Tensor,
}

/// A forward pass. The gradients of the embeddings are candle's, those of all other tensors of `weights` go to `sink`.
///
/// # Errors
/// Where a tensor is missing or has another shape than the configuration asks for.
pub fn forward(
    config: &BertConfig,
    weights: &Weights,
    batch: &Batch,
    noise: Noise,
    sink: &Sink,
) -> Result<Output> {
    let net = Net { config, weights, batch, noise, sink };
    let mut x = net.embedding()?;
    for layer in 0..config.num_hidden_layers {
        x = net.layer(&x, layer)?;
    }
    let pooled = mean_matrix(&batch.bounds, x.device())?.matmul(&x)?;
    let logits = net.linear(&pooled, "classifier")?;
    Ok(Output { pooled, logits })
}

struct Net<'a> {
    config: &'a BertConfig,
    weights: &'a Weights,
    batch: &'a Batch,
    noise: Noise,
    sink: &'a Sink,
}

impl Net<'_> {
    fn get(&self, name: &str) -> Result<&Tensor> {
        match self.weights.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("no tensor {name}"),
        }
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.get(&format!("{name}.weight"))?.clone();
        let bias = self.get(&format!("{name}.bias"))?.clone();
        Linear { weight, bias, sink: self.sink.clone() }.apply(x)
    }

    fn norm(&self, name: &str) -> Result<LayerNorm> {
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
        let epsilon = self.config.layer_norm_eps as f32;
        let scale = self.get(&format!("{name}.weight"))?.clone();
        let shift = self.get(&format!("{name}.bias"))?.clone();
        Ok(LayerNorm { epsilon, scale, shift, sink: self.sink.clone() })
    }

    /// `[tokens, width]`
    fn embedding(&self) -> Result<Tensor> {
        let Batch { rows, bounds } = self.batch.clone();
        let sum = Embedding { rows, bounds }.apply(
            self.get(weights::WORDS)?,
            self.get("embeddings.position_embeddings.weight")?,
            self.get("embeddings.token_type_embeddings.weight")?,
        )?;
        self.noise.at(0).apply(&self.norm("embeddings.LayerNorm")?.apply(&sum)?)
    }

    fn layer(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let place = 1 + 3 * layer as u64;
        let attention = Attention {
            heads: self.config.num_attention_heads,
            bounds: self.batch.bounds.clone(),
            dropout: self.noise.at(place),
        };
        let seen = attention.apply(&self.linear(x, &name("attention.self.qkv"))?)?;
        let seen = self.noise.at(place + 1).apply(&self.linear(&seen, &name("attention.output.dense"))?)?;
        let x = self.norm(&name("attention.output.LayerNorm"))?.apply_sum(x, &seen)?;
        let inner = Gelu::apply(&self.linear(&x, &name("intermediate.dense"))?)?;
        let outer = self.noise.at(place + 2).apply(&self.linear(&inner, &name("output.dense"))?)?;
        self.norm(&name("output.LayerNorm"))?.apply_sum(&x, &outer)
    }
}

/// `[messages, tokens]`, each row the weights of a message's mean.
fn mean_matrix(bounds: &Bounds, device: &Device) -> Result<Tensor> {
    let tokens = bounds.tokens();
    let mut matrix = vec![0.0f32; bounds.messages() * tokens];
    for (message, range) in bounds.ranges().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
        let share = 1.0 / range.len() as f32;
        matrix[message * tokens..][range].fill(share);
    }
    Tensor::from_vec(matrix, (bounds.messages(), tokens), device)
}
