//! A forward pass in steps of half a layer, so that whoever waits for something newer can end it in between.

use super::{Batch, KvCache, Qwen2};
use crate::backend::{Backend, RopeTable, Visible};
use crate::profile::{self, Part};
use crate::{IntentError, Result};

/// A forward pass under way. Its cache must not be used for anything else until it is over, or cut back to what it held
/// before ([`Qwen2::truncate`]), which ends it.
pub struct Pass<B: Backend> {
    visible: Vec<Visible>,
    outputs: Vec<usize>,
    table: RopeTable,
    /// Slots of the cache before.
    before: usize,
    /// The residual stream, `[rows, hidden]`; after the last attention `[outputs, hidden]`.
    x: B::Tensor,
    /// Half layers done.
    done: usize,
}

impl<B: Backend> Qwen2<B> {
    /// Begins a pass over `batch`; nothing is computed yet but the embedding.
    ///
    /// # Errors
    /// `inference` where the batch does not fit the model, `out_of_memory`.
    pub fn begin(&self, cache: &KvCache<B>, batch: &Batch<'_>) -> Result<Pass<B>> {
        self.check(cache, batch)?;
        let config = &self.config;
        let embedded = profile::measure(Part::Embed, || self.embed(batch.tokens));
        Ok(Pass {
            visible: batch.visible.to_vec(),
            outputs: batch.outputs.to_vec(),
            table: RopeTable::new(batch.positions, config.heads.dim, config.rope_base),
            before: cache.slots,
            x: self.backend.tensor(batch.tokens.len(), config.hidden, embedded)?,
            done: 0,
        })
    }

    /// Does the next half of a layer, attention or feed-forward. When the last one is done, the rows are part of `cache`,
    /// and the final hidden states of the batch's outputs (`[outputs, hidden]`, normalised, on the host) are returned.
    /// After an error the cache is as it was before the pass.
    ///
    /// # Errors
    /// `out_of_memory`, and `inference` for a cache that has been used meanwhile.
    pub fn advance(&self, cache: &mut KvCache<B>, pass: &mut Pass<B>) -> Result<Option<Vec<f32>>> {
        let result = self.half_layer(cache, pass);
        if result.is_err() {
            self.truncate(cache, pass.before);
        }
        result
    }

    fn half_layer(&self, cache: &mut KvCache<B>, pass: &mut Pass<B>) -> Result<Option<Vec<f32>>> {
        let b = &self.backend;
        let (index, is_attention) = (pass.done / 2, pass.done.is_multiple_of(2));
        let (Some(layer), Some(kv)) = (self.layers.get(index), cache.layers.get_mut(index)) else {
            return Err(IntentError::Inference("the model has no layers".to_owned()));
        };
        if cache.slots != pass.before {
            return Err(IntentError::Inference("the cache of a pass was used by another".to_owned()));
        }
        let is_last = index + 1 == self.layers.len();
        let added = if is_attention {
            self.attention((index, layer), kv, &pass.x, &pass.table, &pass.visible)?
        } else {
            self.feed_forward((index, layer), &pass.x)
        };
        b.add(&mut pass.x, &added);
        pass.done += 1;
        if is_attention && is_last {
            // From here on rows no longer meet: only those that are read go on.
            pass.x = b.select_rows(&pass.x, &pass.outputs);
        }
        if is_attention || !is_last {
            return Ok(None);
        }
        let hidden = b.read(&self.norm(&pass.x, &self.norm))?;
        cache.slots += pass.visible.len();
        Ok(Some(hidden))
    }
}
