//! Gradients of parameters, beside candle's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, TensorId};

/// Where the backward passes of this module put the gradients of their parameters.
///
/// candle adds every gradient to a tensor of zeros. For activations that is little; for weights it would be a pass over
/// all of them for nothing. So parameters are held by the operations and are no operands in candle's graph, whose
/// leaves are the embeddings alone.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<HashMap<TensorId, Tensor>>>);

impl Sink {
    /// Adds to the gradient of `parameter`.
    pub(super) fn add(&self, parameter: &Tensor, gradient: Tensor) -> Result<()> {
        let mut gradients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match gradients.remove(&parameter.id()) {
            Some(former) => former.add(&gradient)?,
            None => gradient,
        };
        gradients.insert(parameter.id(), sum);
        Ok(())
    }

    /// Takes the gradient of `parameter` out.
    #[must_use]
    pub fn take(&self, parameter: &Tensor) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&parameter.id())
    }
}
