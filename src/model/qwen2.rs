//! Qwen2 and Qwen2.5 (Qwen Team 2024, arXiv 2412.15115): pre-norm transformer, grouped-query attention with
//! biased q, k and v, rotary positions, SwiGLU.

mod config;
mod output;
mod pass;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use config::label_tokens;
pub(crate) use config::{EMBEDDING, OUTPUT};
pub use config::{LABEL_ROWS, LABEL_TOKENS, Qwen2Config};
use output::Output;
pub use pass::{Pass, Step};

use crate::adapter::{Adapter, Projection};
use crate::backend::{Backend, Buffer, Taken, Visible};
use crate::gguf::Gguf;
use crate::model::TokenId;
use crate::profile::{self, Part};
use crate::quant::QuantMatrix;
use crate::{IntentError, Result};

struct Layer<B: Backend> {
    attn_norm: B::Vector,
    q: (B::Matrix, B::Vector),
    k: (B::Matrix, B::Vector),
    v: (B::Matrix, B::Vector),
    attn_output: B::Matrix,
    ffn_norm: B::Vector,
    gate: B::Matrix,
    up: B::Matrix,
    down: B::Matrix,
}

impl<B: Backend> Layer<B> {
    fn weight(&self, projection: Projection) -> (&B::Matrix, Option<&B::Vector>) {
        match projection {
            Projection::Query => (&self.q.0, Some(&self.q.1)),
            Projection::Key => (&self.k.0, Some(&self.k.1)),
            Projection::Value => (&self.v.0, Some(&self.v.1)),
            Projection::Output => (&self.attn_output, None),
            Projection::Gate => (&self.gate, None),
            Projection::Up => (&self.up, None),
            Projection::Down => (&self.down, None),
        }
    }
}

/// The low-rank paths of an adapter as the backend keeps them: for each layer one a projection, in the order of
/// [`Projection::ALL`]; nothing at all where there is no adapter.
pub struct Paths<B: Backend>(Vec<[Option<B::LowRank>; Projection::ALL.len()]>);

impl<B: Backend> Default for Paths<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The weights.
pub struct Qwen2<B: Backend> {
    backend: B,
    config: Qwen2Config,
    /// `[vocab, hidden]`; rows are gathered on the host.
    embedding: Arc<QuantMatrix>,
    output: Output,
    layers: Vec<Layer<B>>,
    paths: Paths<B>,
    norm: B::Vector,
}

/// Keys and values of a sequence, or of a tree of them.
pub struct KvCache<B: Backend> {
    layers: Vec<B::KvLayer>,
    slots: usize,
}

impl<B: Backend> KvCache<B> {
    /// Slots in use.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }
}

/// Rows of one forward pass.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// One a row.
    pub tokens: Vec<TokenId>,
    /// Position of each row, which in a tree is its depth.
    pub positions: Vec<usize>,
    /// What each row sees, itself included; row `i` takes slot `cache.slots() + i`.
    pub visible: Visible,
    /// Rows whose hidden states are wanted.
    pub outputs: Vec<usize>,
}

/// Weights on their way into a model.
pub struct Weights<B: Backend> {
    /// What the host has of the file.
    pub gguf: Gguf,
    /// What the backend has taken over before.
    pub early: HashMap<String, B::Matrix>,
}

impl<B: Backend> From<Gguf> for Weights<B> {
    fn from(gguf: Gguf) -> Self {
        Self { gguf, early: HashMap::new() }
    }
}

impl<B: Backend> Weights<B> {
    fn matrix(&mut self, backend: &B, name: &str, rows: usize, cols: usize) -> Result<B::Matrix> {
        match self.early.remove(name) {
            Some(matrix) => Ok(matrix),
            None => backend.matrix(self.gguf.take(name, rows, cols)?),
        }
    }
}

impl<B: Backend> Qwen2<B> {
    /// Builds the model; `config` is that of the file's header, which the weights have been checked with.
    ///
    /// # Errors
    /// `invalid_tensor`, `out_of_memory`.
    pub fn new(backend: B, config: Qwen2Config, mut weights: Weights<B>) -> Result<Self> {
        let gguf = &mut weights.gguf;
        let embedding = Arc::new(gguf.take(EMBEDDING, config.vocab, config.hidden)?);
        let output = match label_tokens(&gguf.metadata, config.vocab)? {
            Some(tokens) => {
                let rows = gguf.take(LABEL_ROWS, tokens.len(), config.hidden)?;
                Output::Labels { tokens, rows }
            }
            None if gguf.tensors.contains_key(OUTPUT) => {
                Output::Whole(Arc::new(gguf.take(OUTPUT, config.vocab, config.hidden)?))
            }
            None => Output::Whole(Arc::clone(&embedding)),
        };
        let norm = backend.vector(gguf.take_vector("output_norm.weight", config.hidden)?)?;
        let layers = (0..config.layers)
            .map(|layer| Self::layer(&backend, &config, &mut weights, layer))
            .collect::<Result<_>>()?;
        Ok(Self { backend, config, embedding, output, layers, paths: Paths::default(), norm })
    }

    fn layer(backend: &B, config: &Qwen2Config, weights: &mut Weights<B>, layer: usize) -> Result<Layer<B>> {
        let (h, f, kv) = (config.hidden, config.feed_forward, config.kv_width());
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut matrix = |part: &str, rows, cols| weights.matrix(backend, &name(part), rows, cols);
        let (q, k, v) = (
            matrix("attn_q.weight", h, h)?,
            matrix("attn_k.weight", kv, h)?,
            matrix("attn_v.weight", kv, h)?,
        );
        let attn_output = matrix("attn_output.weight", h, h)?;
        let (gate, up) = (matrix("ffn_gate.weight", f, h)?, matrix("ffn_up.weight", f, h)?);
        let down = matrix("ffn_down.weight", h, f)?;
        let mut vector = |part: &str, len| backend.vector(weights.gguf.take_vector(&name(part), len)?);
        Ok(Layer {
            attn_norm: vector("attn_norm.weight", h)?,
            q: (q, vector("attn_q.bias", h)?),
            k: (k, vector("attn_k.bias", kv)?),
            v: (v, vector("attn_v.bias", kv)?),
            attn_output,
            ffn_norm: vector("ffn_norm.weight", h)?,
            gate,
            up,
            down,
        })
    }

    /// What it runs on.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The model's sizes.
    #[must_use]
    pub fn config(&self) -> &Qwen2Config {
        &self.config
    }

    /// Gives an adapter, which [`Adapter::read`] has compared with this model's sizes, to the backend.
    ///
    /// # Errors
    /// `out_of_memory`.
    pub fn prepare(&self, adapter: &Adapter) -> Result<Paths<B>> {
        let layer = |layer| {
            let mut paths = Projection::ALL.map(|_| None);
            for (slot, projection) in paths.iter_mut().zip(Projection::ALL) {
                if let Some(path) = adapter.paths.get(&(layer, projection)) {
                    *slot = Some(self.backend.low_rank(path.rank, &path.a, &path.b, path.scale)?);
                }
            }
            Ok(paths)
        };
        Ok(Paths((0..self.config.layers).map(layer).collect::<Result<_>>()?))
    }

    /// Puts other paths beside the weights and returns those that were there. What caches hold is of those.
    pub fn swap(&mut self, paths: Paths<B>) -> Paths<B> {
        std::mem::replace(&mut self.paths, paths)
    }

    /// An empty cache.
    #[must_use]
    pub fn cache(&self) -> KvCache<B> {
        KvCache { layers: self.layers.iter().map(|_| self.backend.kv_layer()).collect(), slots: 0 }
    }

    /// Bytes of the keys and values of so many slots, which are floats.
    #[must_use]
    pub fn kv_bytes(&self, slots: usize) -> u64 {
        (2 * size_of::<f32>() * self.config.kv_width() * self.config.layers) as u64 * slots as u64
    }

    /// Forgets all slots from `slots` on.
    pub fn truncate(&self, cache: &mut KvCache<B>, slots: usize) {
        cache.slots = cache.slots.min(slots);
        for layer in &mut cache.layers {
            self.backend.kv_truncate(layer, cache.slots, self.config.heads);
        }
    }

    /// Runs `batch`, appends its rows to `cache` and returns the final hidden states of `batch.outputs`
    /// (`[outputs, hidden]`, normalised, on the host). After an error the cache is as it was before.
    ///
    /// # Errors
    /// `inference` where the batch does not fit the model, `out_of_memory`, `device_lost`, and `unavailable` where hidden
    /// states are wanted of a device that can't be waited for.
    pub fn forward(&self, cache: &mut KvCache<B>, batch: Batch) -> Result<Buffer> {
        let pass = self.begin(cache, batch)?;
        self.finish(cache, pass)
    }

    /// The rest of a pass, and what comes back of it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn finish(&self, cache: &mut KvCache<B>, mut pass: Pass<B>) -> Result<Buffer> {
        let before = cache.slots;
        loop {
            match self.advance(cache, &mut pass)? {
                Step::Running => {}
                Step::Done(values) => return Ok(values),
                Step::Waiting(signal) => {
                    self.truncate(cache, before);
                    return Taken::Later(signal).now();
                }
            }
        }
    }

    fn check(&self, cache: &KvCache<B>, batch: &Batch) -> Result<()> {
        let rows = batch.tokens.len();
        if batch.positions.len() != rows || batch.visible.len() != rows {
            return Err(IntentError::Inference("a batch's parts differ in length".to_owned()));
        }
        if batch.tokens.iter().any(|token| token.0 as usize >= self.config.vocab) {
            return Err(IntentError::Inference("a token id is outside the vocabulary".to_owned()));
        }
        let unseen = |(row, visible): (usize, &[Range<usize>])| {
            visible.last().is_none_or(|range| range.end > cache.slots + row + 1)
                || !visible.is_sorted_by(|a, b| a.end <= b.start)
        };
        if batch.visible.rows().enumerate().any(unseen) || batch.outputs.iter().any(|row| *row >= rows) {
            return Err(IntentError::Inference("a row refers to one that is not there yet".to_owned()));
        }
        match batch.positions.iter().max() {
            Some(position) if *position >= self.config.context => Err(IntentError::Inference(format!(
                "position {position} is beyond the model's context of {}",
                self.config.context
            ))),
            _ => Ok(()),
        }
    }

    fn norm(&self, x: &B::Tensor, weight: &B::Vector) -> B::Tensor {
        profile::measure(Part::Elementwise, || self.backend.rms_norm(x, weight, self.config.rms_eps))
    }

    fn embed(&self, tokens: &[TokenId]) -> Buffer {
        let mut values = Buffer::new(tokens.len() * self.config.hidden);
        for (token, row) in tokens.iter().zip(values.chunks_exact_mut(self.config.hidden)) {
            self.embedding.dequantize_row(token.0 as usize, row);
        }
        values
    }

    /// Products of a layer with one `x`, with the paths beside them.
    fn project<const N: usize>(
        &self,
        (index, layer): (usize, &Layer<B>),
        projections: [Projection; N],
        x: &B::Tensor,
    ) -> [B::Tensor; N] {
        let part = match projections.first() {
            Some(Projection::Output) => Part::AttentionOutput,
            Some(Projection::Gate | Projection::Up) => Part::Up,
            Some(Projection::Down) => Part::Down,
            Some(Projection::Query | Projection::Key | Projection::Value) | None => Part::QueryKeyValue,
        };
        profile::measure(part, || {
            let mut all = self.backend.linears(x, projections.map(|projection| layer.weight(projection)));
            for (y, projection) in all.iter_mut().zip(projections) {
                let paths = self.paths.0.get(index).and_then(|paths| paths.get(projection as usize));
                if let Some(Some(path)) = paths {
                    self.backend.add_low_rank(y, x, path);
                }
            }
            all
        })
    }

    fn attention(
        &self,
        layer: (usize, &Layer<B>),
        kv: &mut B::KvLayer,
        x: &B::Tensor,
        angles: &B::Angles,
        mask: &B::Mask,
    ) -> Result<B::Tensor> {
        let b = &self.backend;
        let normed = self.norm(x, &layer.1.attn_norm);
        let wanted = [Projection::Query, Projection::Key, Projection::Value];
        let [mut q, mut k, v] = self.project(layer, wanted, &normed);
        profile::measure(Part::Elementwise, || {
            b.rope(&mut q, angles);
            b.rope(&mut k, angles);
        });
        let attended = profile::measure(Part::Attention, || {
            b.kv_append(kv, &k, &v)?;
            Ok(b.attention(&q, kv, mask, self.config.heads))
        })?;
        let [output] = self.project(layer, [Projection::Output], &attended);
        Ok(output)
    }

    fn feed_forward(&self, layer: (usize, &Layer<B>), x: &B::Tensor) -> B::Tensor {
        let b = &self.backend;
        let normed = self.norm(x, &layer.1.ffn_norm);
        let [mut gate, up] = self.project(layer, [Projection::Gate, Projection::Up], &normed);
        profile::measure(Part::Elementwise, || b.silu_mul(&mut gate, &up));
        let [down] = self.project(layer, [Projection::Down], &gate);
        down
    }
}
