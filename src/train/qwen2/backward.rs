//! The backward pass of a layer.

use candle_core::{Result, Tensor, bail};

use super::{Activations, Batch, GROUPS, Network, Noise, parameter_name, wanted};
use crate::train::parameters::Weights;

/// A layer on its way back.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) weights: &'a Weights,
    pub(super) batch: &'a Batch,
    pub(super) noise: Noise,
    pub(super) layer: usize,
}

impl Pass<'_> {
    /// Gradient of the operand of a group's linear layer; those of its paths go to `found`.
    fn linear(
        &self,
        group: usize,
        x: &Tensor,
        gradient: &Tensor,
        of_x: bool,
        found: &mut Weights,
    ) -> Result<Option<Tensor>> {
        let low = self.network.low(self.weights, self.layer, group, self.noise)?;
        let frozen = &self.network.layers[self.layer].groups[group];
        let of = self.network.kernels.linear_backward(frozen, low.as_ref(), x, gradient, of_x)?;
        for (matrix, gradient) in ["a", "b"].into_iter().zip(of.low.into_iter().flatten()) {
            found.insert(parameter_name(self.layer, GROUPS[group].0, matrix), gradient);
        }
        Ok(of.x)
    }

    /// Gradient of the layer's operand, where it is wanted.
    pub(super) fn backward(
        &self,
        at: &Activations,
        gradient: &Tensor,
        of_x: bool,
        found: &mut Weights,
    ) -> Result<Option<Tensor>> {
        let (k, layer) = (&*self.network.kernels, &self.network.layers[self.layer]);
        let epsilon = self.network.epsilon();
        let needed = |tensor: Option<Tensor>| match tensor {
            Some(tensor) => Ok(tensor),
            None => bail!("no gradient of an operand"),
        };
        let of_inner = needed(self.linear(3, &at.inner, gradient, true, found)?)?;
        let of_gate_up = k.swiglu_backward(&at.gate_up, &of_inner)?;
        let of_normed = needed(self.linear(2, &at.ffn_normed, &of_gate_up, true, found)?)?;
        let of_middle = k.rms_norm_backward(&at.middle, &layer.ffn_norm, epsilon, &of_normed, gradient)?;
        let of_seen = needed(self.linear(1, &at.seen, &of_middle, true, found)?)?;
        let last = self.layer + 1 == self.network.layers.len();
        let spread = |rows: Tensor| {
            if !last {
                return Ok(rows);
            }
            let (_, width) = rows.dims2()?;
            let all = Tensor::zeros((self.batch.tokens.len(), width), rows.dtype(), rows.device())?;
            all.index_add(&wanted(self.batch, rows.device())?, &rows, 0)
        };
        let of_qkv =
            k.attention_backward(&at.qkv, &self.batch.tree, self.network.config.heads, &spread(of_seen)?)?;
        match self.linear(0, &at.normed, &of_qkv, of_x, found)? {
            Some(of_normed) => {
                let plus = spread(of_middle)?;
                k.rms_norm_backward(&at.x, &layer.attn_norm, epsilon, &of_normed, &plus).map(Some)
            }
            None => Ok(None),
        }
    }
}
