//! Sizes of a model, and the tensors that its file must hold.

use crate::Result;
use crate::backend::Heads;
use crate::gguf::{Header, Metadata};
use crate::model::{Expected, TokenId, check_tensors};
use crate::quant::BLOCK;

/// The tokens whose rows of the output matrix a classification pack keeps, ascending: the one key that is not of
/// llama.cpp's converter. The rows are [`LABEL_ROWS`], in this order.
pub const LABEL_TOKENS: &str = "qwen2.classifier.output_tokens";

/// Name of those rows, as llama.cpp names the head of a classifier.
pub const LABEL_ROWS: &str = "cls.output.weight";

/// The whole output matrix.
pub(crate) const OUTPUT: &str = "output.weight";

/// The embedding, which is the output matrix too where a file has neither that nor [`LABEL_ROWS`].
pub(crate) const EMBEDDING: &str = "token_embd.weight";

/// Sizes of one model, from its metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Qwen2Config {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Longest sequence.
    pub context: usize,
    /// Base of the rotary angles.
    pub rope_base: f32,
    /// Epsilon of the norms.
    pub rms_eps: f32,
    /// Token ids.
    pub vocab: usize,
    /// Rows of the output matrix where a file has only those of [`LABEL_TOKENS`].
    pub label_rows: Option<usize>,
}

impl Qwen2Config {
    /// Reads and checks the sizes of a file of architecture `qwen2`.
    ///
    /// # Errors
    /// `invalid_gguf` for sizes that are missing or can't be, `unsupported_model` for variants that are not run,
    /// `invalid_tensor` for tensors that don't fit them.
    pub fn from_header(header: &Header) -> Result<Self> {
        let meta = &header.metadata;
        let hidden = meta.size_up_to("qwen2.embedding_length", 1 << 16)?;
        let query = meta.size_up_to("qwen2.attention.head_count", 1 << 10)?;
        let kv = meta.size_up_to("qwen2.attention.head_count_kv", 1 << 10)?;
        if !hidden.is_multiple_of(query) || !query.is_multiple_of(kv) || !(hidden / query).is_multiple_of(2) {
            let detail = format!("{query} heads and {kv} key/value heads do not divide a width of {hidden}");
            return Err(meta.invalid("qwen2.attention.head_count", detail));
        }
        let config = Self {
            layers: meta.size_up_to("qwen2.block_count", 1 << 10)?,
            hidden,
            feed_forward: meta.size_up_to("qwen2.feed_forward_length", 1 << 20)?,
            heads: Heads { query, kv, dim: hidden / query },
            context: meta.size_up_to("qwen2.context_length", 1 << 24)?,
            rope_base: meta.positive("qwen2.rope.freq_base")?,
            rms_eps: meta.positive("qwen2.attention.layer_norm_rms_epsilon")?,
            vocab: meta.texts("tokenizer.ggml.tokens")?.len(),
            label_rows: None,
        };
        let label_rows = label_tokens(meta, config.vocab)?.map(|tokens| tokens.len());
        let config = Self { label_rows, ..config };
        config.check_variants(meta)?;
        for (key, width) in
            [("qwen2.embedding_length", hidden), ("qwen2.feed_forward_length", config.feed_forward)]
        {
            if !width.is_multiple_of(BLOCK) {
                return Err(meta.invalid(key, format!("{width} is not a multiple of {BLOCK}")));
            }
        }
        check_tensors(header, config.tensors(), "a Qwen2 model of this size")?;
        Ok(config)
    }

    /// Refuses what would change the arithmetic: scaled rotary angles and heads of another width.
    fn check_variants(&self, meta: &Metadata) -> Result<()> {
        const SCALING: &str = "qwen2.rope.scaling.type";
        if meta.get(SCALING).is_some() && meta.text(SCALING)? != "none" {
            return Err(
                meta.unsupported(SCALING, format!("{:?}; only unscaled angles are run", meta.text(SCALING)?))
            );
        }
        for key in
            ["qwen2.rope.dimension_count", "qwen2.attention.key_length", "qwen2.attention.value_length"]
        {
            if meta.get(key).is_some() && meta.size(key)? != self.heads.dim {
                return Err(
                    meta.unsupported(key, format!("{}; heads are {} wide", meta.size(key)?, self.heads.dim))
                );
            }
        }
        Ok(())
    }

    pub(super) fn kv_width(&self) -> usize {
        self.heads.kv * self.heads.dim
    }

    /// Every tensor of a file.
    pub(crate) fn tensors(&self) -> Vec<Expected> {
        let (h, f, kv) = (self.hidden, self.feed_forward, self.kv_width());
        let mut tensors = vec![
            (EMBEDDING.to_owned(), [self.vocab, h], false),
            ("output_norm.weight".to_owned(), [1, h], false),
            match self.label_rows {
                Some(rows) => (LABEL_ROWS.to_owned(), [rows, h], false),
                None => (OUTPUT.to_owned(), [self.vocab, h], true),
            },
        ];
        for layer in 0..self.layers {
            let shapes = [
                ("attn_norm.weight", [1, h]),
                ("attn_q.weight", [h, h]),
                ("attn_q.bias", [1, h]),
                ("attn_k.weight", [kv, h]),
                ("attn_k.bias", [1, kv]),
                ("attn_v.weight", [kv, h]),
                ("attn_v.bias", [1, kv]),
                ("attn_output.weight", [h, h]),
                ("ffn_norm.weight", [1, h]),
                ("ffn_gate.weight", [f, h]),
                ("ffn_up.weight", [f, h]),
                ("ffn_down.weight", [h, f]),
            ];
            tensors.extend(shapes.map(|(name, shape)| (format!("blk.{layer}.{name}"), shape, false)));
        }
        tensors
    }
}

/// The tokens of [`LABEL_TOKENS`], where a file has that key.
pub(super) fn label_tokens(meta: &Metadata, vocab: usize) -> Result<Option<Vec<TokenId>>> {
    if meta.get(LABEL_TOKENS).is_none() {
        return Ok(None);
    }
    let tokens = meta.u32s(LABEL_TOKENS)?;
    let inside = tokens.last().is_some_and(|last| (*last as usize) < vocab);
    if !inside || !tokens.is_sorted_by(|a, b| a < b) {
        return Err(meta.invalid(LABEL_TOKENS, "is not an ascending list of tokens of the vocabulary"));
    }
    Ok(Some(tokens.into_iter().map(TokenId).collect()))
}
