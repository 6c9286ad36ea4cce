//! A forward pass in steps of half a layer, so that whoever waits for something newer can end it in between.

use std::sync::Arc;

use super::{Batch, KvCache, Qwen2};
use crate::backend::{Backend, Buffer, RopeTable, Signal, Taken};
use crate::profile::{self, Part};
use crate::{IntentError, Result};

/// A forward pass under way. Its cache must not be used for anything else until it is over, or cut back to what it held
/// before ([`Qwen2::truncate`]), which ends it.
pub struct Pass<B: Backend> {
    rows: usize,
    mask: B::Mask,
    outputs: Vec<usize>,
    angles: B::Angles,
    /// Slots of the cache before.
    before: usize,
    /// The residual stream, `[rows, hidden]`; after the last attention `[outputs, hidden]`.
    x: B::Tensor,
    /// Half layers done.
    done: usize,
    /// What the final hidden states are multiplied by before they are read.
    head: Option<Arc<B::Matrix>>,
    /// The final hidden states, or their products, on their way back.
    reading: Option<B::Reading>,
}

/// How far a pass has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// There is more to compute.
    Running,
    /// All is asked of the device; there is more to do when the signal says so.
    Waiting(Signal),
    /// The final hidden states of the batch's outputs: `[outputs, hidden]`, normalised, on the host; or their products.
    Done(Buffer),
}

impl<B: Backend> Pass<B> {
    /// Has logits come back in place of hidden states: `[outputs, rows of head]`.
    pub fn read_through(&mut self, head: &Arc<B::Matrix>) {
        self.head = Some(Arc::clone(head));
    }
}

impl<B: Backend> Qwen2<B> {
    /// Begins a pass over `batch`; nothing is computed yet but the embedding.
    ///
    /// # Errors
    /// `inference` where the batch does not fit the model, `out_of_memory`.
    pub fn begin(&self, cache: &KvCache<B>, batch: Batch) -> Result<Pass<B>> {
        self.check(cache, &batch)?;
        let (config, rows) = (&self.config, batch.tokens.len());
        let embedded = profile::measure(Part::Embed, || self.embed(&batch.tokens));
        let angles = RopeTable::new(&batch.positions, config.heads.dim, config.rope_base);
        Ok(Pass {
            rows,
            mask: self.backend.mask(batch.visible)?,
            outputs: batch.outputs,
            angles: self.backend.angles(angles)?,
            before: cache.slots,
            x: self.backend.tensor(rows, config.hidden, embedded)?,
            done: 0,
            head: None,
            reading: None,
        })
    }

    /// Does the next half of a layer, attention or feed-forward. When the last one is done and read, the rows are part of
    /// `cache`. After an error the cache is as it was before the pass.
    ///
    /// # Errors
    /// `out_of_memory`, `device_lost`, and `inference` for a cache that has been used meanwhile.
    pub fn advance(&self, cache: &mut KvCache<B>, pass: &mut Pass<B>) -> Result<Step> {
        let result = self.step(cache, pass);
        if result.is_err() {
            self.truncate(cache, pass.before);
        }
        result
    }

    fn step(&self, cache: &mut KvCache<B>, pass: &mut Pass<B>) -> Result<Step> {
        if cache.slots != pass.before {
            return Err(IntentError::Inference("the cache of a pass was used by another".to_owned()));
        }
        if pass.reading.is_none() {
            self.half_layer(cache, pass)?;
            if pass.done < 2 * self.layers.len() {
                return Ok(Step::Running);
            }
            let normed = self.norm(&pass.x, &self.norm);
            let wanted = match &pass.head {
                Some(head) => profile::measure(Part::Head, || self.backend.linear(&normed, head, None)),
                None => normed,
            };
            pass.reading = Some(self.backend.read(&wanted)?);
        }
        // Nothing is waited for where nothing was asked for.
        let taken = match &mut pass.reading {
            Some(reading) if !pass.outputs.is_empty() => self.backend.take(reading)?,
            _ => Taken::Values(Buffer::default()),
        };
        match taken {
            Taken::Later(signal) => Ok(Step::Waiting(signal)),
            Taken::Values(values) => {
                cache.slots += pass.rows;
                Ok(Step::Done(values))
            }
        }
    }

    fn half_layer(&self, cache: &mut KvCache<B>, pass: &mut Pass<B>) -> Result<()> {
        let b = &self.backend;
        let (index, is_attention) = (pass.done / 2, pass.done.is_multiple_of(2));
        let (Some(layer), Some(kv)) = (self.layers.get(index), cache.layers.get_mut(index)) else {
            return Err(IntentError::Inference("the model has no layers".to_owned()));
        };
        let added = if is_attention {
            self.attention((index, layer), kv, &pass.x, &pass.angles, &pass.mask)?
        } else {
            self.feed_forward((index, layer), &pass.x)
        };
        b.add(&mut pass.x, &added);
        pass.done += 1;
        if is_attention && index + 1 == self.layers.len() {
            // From here on rows no longer meet: only those that are read go on.
            pass.x = b.select_rows(&pass.x, &pass.outputs);
        }
        Ok(())
    }
}
