//! The output matrix: a few of its rows, or the whole of it.

use std::sync::Arc;

use super::Qwen2;
use crate::backend::Backend;
use crate::model::TokenId;
use crate::quant::{QuantMatrix, matmul};
use crate::{IntentError, Result};

/// What logits are made with. It stays on the host, past the backend: a few rows are read as a head, and the whole of it
/// only for `token_confidence`.
pub(super) enum Output {
    /// `[vocab, hidden]`; the embedding itself where the file ties them.
    Whole(Arc<QuantMatrix>),
    /// `[tokens, hidden]`, the rows of these tokens, ascending.
    Labels { tokens: Vec<TokenId>, rows: QuantMatrix },
}

impl<B: Backend> Qwen2<B> {
    /// Rows `tokens` of the output matrix as floats: the head for a few tokens, `[tokens, hidden]`.
    ///
    /// # Errors
    /// `inference` for a token outside the vocabulary, `invalid_config` for one whose row the file does not have.
    pub fn head(&self, tokens: &[TokenId]) -> Result<QuantMatrix> {
        let mut rows = vec![0.0; tokens.len() * self.config.hidden];
        for (token, row) in tokens.iter().zip(rows.chunks_exact_mut(self.config.hidden)) {
            if token.0 as usize >= self.config.vocab {
                return Err(IntentError::Inference("a token id is outside the vocabulary".to_owned()));
            }
            match &self.output {
                Output::Whole(matrix) => matrix.dequantize_row(token.0 as usize, row),
                Output::Labels { tokens, rows } => match tokens.binary_search(token) {
                    Ok(index) => rows.dequantize_row(index, row),
                    Err(_) => {
                        let detail = format!(
                            "the model has rows of the output matrix for other labels only: token {} has none",
                            token.0
                        );
                        return Err(IntentError::config("labels", detail));
                    }
                },
            }
        }
        QuantMatrix::from_f32(tokens.len(), self.config.hidden, &rows)
    }

    /// The whole output matrix.
    ///
    /// # Errors
    /// `unavailable` where the file has only some of its rows.
    pub fn require_output(&self) -> Result<&QuantMatrix> {
        match &self.output {
            Output::Whole(matrix) => Ok(matrix),
            Output::Labels { .. } => Err(IntentError::Unavailable(
                "a classification pack keeps the output matrix for its labels only: no token_confidence"
                    .to_owned(),
            )),
        }
    }

    /// Logits over the whole vocabulary, `[rows, vocab]`, of hidden states `[rows, hidden]`.
    ///
    /// # Errors
    /// As [`require_output`](Self::require_output).
    pub fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        let output = self.require_output()?;
        let rows = hidden.len() / self.config.hidden;
        let mut logits = vec![0.0; rows * self.config.vocab];
        matmul(hidden, rows, output, &mut logits);
        Ok(logits)
    }
}
