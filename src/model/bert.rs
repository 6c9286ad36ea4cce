//! BERT (Devlin et al. 2019, arXiv 1810.04805) with the mean of all token vectors (Reimers and Gurevych 2019, arXiv
//! 1908.10084) and a linear head over the labels.
//!
//! Post-norm transformer, learned positions, attention in both directions, GELU by the error function. Every token
//! counts in the mean, `[CLS]` and `[SEP]` too; the mean is not normalised. Files follow llama.cpp's converter
//! (`bert.*` keys and tensor names); the head is `cls.output`, its labels are `bert.classifier.output_labels`.

use crate::backend::{Backend, Buffer, Heads, Taken};
use crate::gguf::{Gguf, Header, Metadata};
use crate::model::{Expected, TokenId, check_tensors};
use crate::profile::{self, Part};
use crate::quant::{BLOCK, QuantMatrix};
use crate::{IntentError, Result};

/// llama.cpp's number for the mean over all tokens (`LLAMA_POOLING_TYPE_MEAN`).
pub const POOLING_MEAN: usize = 1;

/// Most positions a model may have.
pub const MAX_POSITIONS: usize = 1 << 20;

/// Sizes of one model, from its metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Attention heads; as many key/value heads as query heads.
    pub heads: Heads,
    /// Longest sequence, `[CLS]` and `[SEP]` included.
    pub context: usize,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// Token ids.
    pub vocab: usize,
    /// Rows of the token type embedding; only the first is used.
    pub token_types: usize,
    /// What the head's rows stand for.
    pub labels: Vec<String>,
}

impl BertConfig {
    /// Reads and checks the sizes of a file of architecture `bert`.
    ///
    /// # Errors
    /// `invalid_gguf` for sizes that are missing or can't be, `unsupported_model` for variants that are not run,
    /// `invalid_tensor` for tensors that don't fit them.
    pub fn from_header(header: &Header) -> Result<Self> {
        let meta = &header.metadata;
        let hidden = meta.size_up_to("bert.embedding_length", 1 << 16)?;
        let heads = meta.size_up_to("bert.attention.head_count", 1 << 10)?;
        if !hidden.is_multiple_of(heads) || !(hidden / heads).is_multiple_of(2) {
            let detail = format!("{heads} heads do not divide a width of {hidden} evenly");
            return Err(meta.invalid("bert.attention.head_count", detail));
        }
        let labels = meta.texts("bert.classifier.output_labels")?;
        let config = Self {
            layers: meta.size_up_to("bert.block_count", 1 << 10)?,
            hidden,
            feed_forward: meta.size_up_to("bert.feed_forward_length", 1 << 20)?,
            heads: Heads { query: heads, kv: heads, dim: hidden / heads },
            context: meta.size_up_to("bert.context_length", MAX_POSITIONS)?,
            norm_eps: meta.positive("bert.attention.layer_norm_epsilon")?,
            vocab: meta.texts("tokenizer.ggml.tokens")?.len(),
            token_types: meta.size_up_to("tokenizer.ggml.token_type_count", 1 << 10)?,
            labels: labels.into_iter().map(str::to_owned).collect(),
        };
        check_variants(meta)?;
        for (key, width) in
            [("bert.embedding_length", hidden), ("bert.feed_forward_length", config.feed_forward)]
        {
            if !width.is_multiple_of(BLOCK) {
                return Err(meta.invalid(key, format!("{width} is not a multiple of {BLOCK}")));
            }
        }
        if config.labels.len() < 2 {
            return Err(meta.invalid("bert.classifier.output_labels", "fewer than two"));
        }
        if config.context < 3 {
            return Err(meta.invalid("bert.context_length", "leaves no room for a token"));
        }
        check_tensors(header, config.tensors(), "a BERT classifier of this size")?;
        Ok(config)
    }

    /// Every tensor of a file.
    fn tensors(&self) -> Vec<Expected> {
        let (h, f) = (self.hidden, self.feed_forward);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), [self.vocab, h]),
            ("token_types.weight".to_owned(), [self.token_types, h]),
            ("position_embd.weight".to_owned(), [self.context, h]),
            ("token_embd_norm.weight".to_owned(), [1, h]),
            ("token_embd_norm.bias".to_owned(), [1, h]),
            ("cls.output.weight".to_owned(), [self.labels.len(), h]),
            ("cls.output.bias".to_owned(), [1, self.labels.len()]),
        ];
        for layer in 0..self.layers {
            for (part, rows, cols) in LAYER.map(|(part, rows, cols)| (part, rows.of(h, f), cols.of(h, f))) {
                tensors.push((format!("blk.{layer}.{part}.weight"), [rows, cols]));
                tensors.push((format!("blk.{layer}.{part}.bias"), [1, rows]));
            }
            for part in ["attn_output_norm", "layer_output_norm"] {
                tensors.push((format!("blk.{layer}.{part}.weight"), [1, h]));
                tensors.push((format!("blk.{layer}.{part}.bias"), [1, h]));
            }
        }
        tensors.into_iter().map(|(name, shape)| (name, shape, false)).collect()
    }
}

#[derive(Clone, Copy)]
enum Width {
    Hidden,
    FeedForward,
}

impl Width {
    fn of(self, hidden: usize, feed_forward: usize) -> usize {
        match self {
            Self::Hidden => hidden,
            Self::FeedForward => feed_forward,
        }
    }
}

/// Linear parts of a layer: name, output and input width.
const LAYER: [(&str, Width, Width); 6] = [
    ("attn_q", Width::Hidden, Width::Hidden),
    ("attn_k", Width::Hidden, Width::Hidden),
    ("attn_v", Width::Hidden, Width::Hidden),
    ("attn_output", Width::Hidden, Width::Hidden),
    ("ffn_up", Width::FeedForward, Width::Hidden),
    ("ffn_down", Width::Hidden, Width::FeedForward),
];

/// Refuses what would change the arithmetic: another pooling, attention that looks back only.
fn check_variants(meta: &Metadata) -> Result<()> {
    const POOLING: &str = "bert.pooling_type";
    let pooling = meta.size(POOLING)?;
    if pooling != POOLING_MEAN {
        return Err(meta.unsupported(POOLING, format!("{pooling}; only the mean ({POOLING_MEAN}) is run")));
    }
    const CAUSAL: &str = "bert.attention.causal";
    if meta.bool(CAUSAL)? {
        return Err(meta.unsupported(CAUSAL, "true; only attention in both directions is run"));
    }
    Ok(())
}

struct Linear<B: Backend> {
    weight: B::Matrix,
    bias: B::Vector,
}

struct Norm<B: Backend> {
    weight: B::Vector,
    bias: B::Vector,
}

struct Layer<B: Backend> {
    q: Linear<B>,
    k: Linear<B>,
    v: Linear<B>,
    attn_output: Linear<B>,
    attn_norm: Norm<B>,
    up: Linear<B>,
    down: Linear<B>,
    output_norm: Norm<B>,
}

/// The weights.
pub struct Bert<B: Backend> {
    backend: B,
    config: BertConfig,
    /// `[vocab, hidden]`; rows are gathered on the host.
    embedding: QuantMatrix,
    /// `[context, hidden]`, on the host too.
    positions: QuantMatrix,
    /// The first token type's vector, added to every row.
    token_type: Vec<f32>,
    embedding_norm: Norm<B>,
    layers: Vec<Layer<B>>,
    head: Linear<B>,
}

/// Takes named tensors over to the backend.
struct Taker<'a, B: Backend> {
    backend: &'a B,
    gguf: &'a mut Gguf,
}

impl<B: Backend> Taker<'_, B> {
    fn vector(&mut self, name: &str, len: usize) -> Result<B::Vector> {
        self.backend.vector(self.gguf.take_vector(name, len)?)
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize) -> Result<Linear<B>> {
        let weight = self.gguf.take(&format!("{name}.weight"), rows, cols)?;
        let bias = self.vector(&format!("{name}.bias"), rows)?;
        Ok(Linear { weight: self.backend.matrix(weight)?, bias })
    }

    fn norm(&mut self, name: &str, len: usize) -> Result<Norm<B>> {
        let weight = self.vector(&format!("{name}.weight"), len)?;
        Ok(Norm { weight, bias: self.vector(&format!("{name}.bias"), len)? })
    }

    fn layer(&mut self, config: &BertConfig, layer: usize) -> Result<Layer<B>> {
        let h = config.hidden;
        let [q, k, v, attn_output, up, down] = LAYER.map(|(part, rows, cols)| {
            let width = |width: Width| width.of(h, config.feed_forward);
            self.linear(&format!("blk.{layer}.{part}"), width(rows), width(cols))
        });
        Ok(Layer {
            q: q?,
            k: k?,
            v: v?,
            attn_output: attn_output?,
            up: up?,
            down: down?,
            attn_norm: self.norm(&format!("blk.{layer}.attn_output_norm"), h)?,
            output_norm: self.norm(&format!("blk.{layer}.layer_output_norm"), h)?,
        })
    }
}

impl<B: Backend> Bert<B> {
    /// Takes the weights out of `gguf`; `config` is that of its header.
    ///
    /// # Errors
    /// `invalid_tensor`, `out_of_memory`.
    pub fn new(backend: B, config: BertConfig, gguf: &mut Gguf) -> Result<Self> {
        let h = config.hidden;
        let embedding = gguf.take("token_embd.weight", config.vocab, h)?;
        let positions = gguf.take("position_embd.weight", config.context, h)?;
        let types = gguf.take("token_types.weight", config.token_types, h)?;
        let mut token_type = vec![0.0; h];
        types.dequantize_row(0, &mut token_type);
        let mut taker = Taker { backend: &backend, gguf };
        let embedding_norm = taker.norm("token_embd_norm", h)?;
        let head = taker.linear("cls.output", config.labels.len(), h)?;
        let layers = (0..config.layers).map(|layer| taker.layer(&config, layer)).collect::<Result<_>>()?;
        Ok(Self { backend, config, embedding, positions, token_type, embedding_norm, layers, head })
    }

    /// The model's sizes.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Room for the keys and values of one layer, which all layers take in turn.
    #[must_use]
    pub fn workspace(&self) -> B::KvLayer {
        self.backend.kv_layer()
    }

    /// Runs `tokens`, `[CLS]` and `[SEP]` included, and returns the head's logits, one a label.
    ///
    /// # Errors
    /// `inference` where the tokens do not fit the model, `out_of_memory`.
    pub fn forward(&self, workspace: &mut B::KvLayer, tokens: &[TokenId]) -> Result<Buffer> {
        let mut reading = self.begin(workspace, tokens)?;
        self.take(&mut reading)?.now()
    }

    /// The first half of [`forward`](Self::forward): asks everything of the backend.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn begin(&self, workspace: &mut B::KvLayer, tokens: &[TokenId]) -> Result<B::Reading> {
        let b = &self.backend;
        let hidden = self.hidden(workspace, tokens)?;
        profile::measure(Part::Head, || {
            b.read(&b.linear(&b.mean_rows(&hidden), &self.head.weight, Some(&self.head.bias)))
        })
    }

    /// The second half: the logits, where they are there.
    ///
    /// # Errors
    /// As [`Backend::take`].
    pub fn take(&self, reading: &mut B::Reading) -> Result<Taken> {
        self.backend.take(reading)
    }

    /// The mean of the last layer's rows, `[hidden]`: the sentence's vector, before the head.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn pooled(&self, workspace: &mut B::KvLayer, tokens: &[TokenId]) -> Result<Buffer> {
        let hidden = self.hidden(workspace, tokens)?;
        let mut reading = self.backend.read(&self.backend.mean_rows(&hidden))?;
        self.take(&mut reading)?.now()
    }

    /// The last layer's rows, `[tokens, hidden]`.
    fn hidden(&self, workspace: &mut B::KvLayer, tokens: &[TokenId]) -> Result<B::Tensor> {
        self.check(tokens)?;
        let (b, config) = (&self.backend, &self.config);
        let embedded = profile::measure(Part::Embed, || self.embed(tokens));
        let embedded = b.tensor(tokens.len(), config.hidden, embedded)?;
        let mut x = self.norm(&embedded, &self.embedding_norm);
        // Attention in both directions.
        let mask = b.mask(std::iter::repeat_n(0..tokens.len(), tokens.len()).collect())?;
        for layer in &self.layers {
            let mut attended = self.attention(layer, workspace, &x, &mask)?;
            x = self.add_and_norm(&mut attended, &x, &layer.attn_norm);
            let mut inner = self.linear(Part::Up, &x, &layer.up);
            profile::measure(Part::Elementwise, || b.gelu(&mut inner));
            let mut fed = self.linear(Part::Down, &inner, &layer.down);
            x = self.add_and_norm(&mut fed, &x, &layer.output_norm);
        }
        Ok(x)
    }

    fn check(&self, tokens: &[TokenId]) -> Result<()> {
        if tokens.is_empty() {
            return Err(IntentError::Inference("there are no tokens".to_owned()));
        }
        if tokens.iter().any(|token| token.0 as usize >= self.config.vocab) {
            return Err(IntentError::Inference("a token id is outside the vocabulary".to_owned()));
        }
        if tokens.len() > self.config.context {
            return Err(IntentError::Inference(format!(
                "{} tokens are more than the model's {} positions",
                tokens.len(),
                self.config.context
            )));
        }
        Ok(())
    }

    /// Token, position and type vectors, summed.
    fn embed(&self, tokens: &[TokenId]) -> Buffer {
        let width = self.config.hidden;
        let mut values = Buffer::new(tokens.len() * width);
        let mut position_row = Buffer::new(width);
        for (position, (token, row)) in tokens.iter().zip(values.chunks_exact_mut(width)).enumerate() {
            self.embedding.dequantize_row(token.0 as usize, row);
            self.positions.dequantize_row(position, &mut position_row);
            let others = self.token_type.iter().zip(position_row.iter());
            row.iter_mut()
                .zip(others)
                .for_each(|(value, (kind, position))| *value = *value + kind + position);
        }
        values
    }

    fn attention(
        &self,
        layer: &Layer<B>,
        workspace: &mut B::KvLayer,
        x: &B::Tensor,
        mask: &B::Mask,
    ) -> Result<B::Tensor> {
        let b = &self.backend;
        let parts = [&layer.q, &layer.k, &layer.v].map(|linear| (&linear.weight, Some(&linear.bias)));
        let [q, k, v] = profile::measure(Part::QueryKeyValue, || b.linears(x, parts));
        let attended = profile::measure(Part::Attention, || {
            b.kv_truncate(workspace, 0, self.config.heads);
            b.kv_append(workspace, &k, &v)?;
            Ok(b.attention(&q, workspace, mask, self.config.heads))
        })?;
        Ok(self.linear(Part::AttentionOutput, &attended, &layer.attn_output))
    }

    fn linear(&self, part: Part, x: &B::Tensor, linear: &Linear<B>) -> B::Tensor {
        profile::measure(part, || self.backend.linear(x, &linear.weight, Some(&linear.bias)))
    }

    /// The norm of `y + x`.
    fn add_and_norm(&self, y: &mut B::Tensor, x: &B::Tensor, norm: &Norm<B>) -> B::Tensor {
        profile::measure(Part::Elementwise, || {
            self.backend.add(y, x);
            self.norm(y, norm)
        })
    }

    fn norm(&self, x: &B::Tensor, norm: &Norm<B>) -> B::Tensor {
        self.backend.layer_norm(x, &norm.weight, &norm.bias, self.config.norm_eps)
    }
}
