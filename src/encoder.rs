//! An encoder scoring labels: one pass over the message, nothing before it and nothing behind it but `[CLS]` and
//! `[SEP]`.

use crate::backend::{Backend, Taken};
use crate::classifier::{LabelModel, ModelInfo};
use crate::model::bert::Bert;
use crate::profile::{self, Part};
use crate::scoring::{Goal, Progress, Scores, log_sum_exp};
use crate::tokenizer::WordPiece;
use crate::{IntentError, Result};

/// BERT with its tokenizer, scoring labels.
pub struct Encoder<B: Backend> {
    model: Bert<B>,
    tokenizer: WordPiece,
    workspace: B::KvLayer,
    info: ModelInfo,
    /// The logits of the message under way.
    reading: Option<B::Reading>,
}

impl<B: Backend> Encoder<B> {
    /// Puts the parts together; `info` is what results report.
    #[must_use]
    pub fn new(model: Bert<B>, tokenizer: WordPiece, info: ModelInfo) -> Self {
        let workspace = model.workspace();
        Self { model, tokenizer, workspace, info, reading: None }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Bert<B> {
        &self.model
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &WordPiece {
        &self.tokenizer
    }

    /// Log-probabilities of the labels of `text` (already trimmed and normalised): the log-softmax of the head.
    ///
    /// A text of more tokens than the model has positions is an error, which the gate escalates: whatever were cut out
    /// of it, nobody would have read. 2,000 characters of prose are some 450 tokens; only strings of symbols come to
    /// more than 510.
    ///
    /// # Errors
    /// `tokenizer`, `inference`, `out_of_memory`; the encoder is usable afterwards.
    pub fn log_probabilities(&mut self, text: &str) -> Result<Vec<f32>> {
        let mut reading = self.ask(text)?;
        self.model.take(&mut reading)?.now().map(|logits| log_softmax(&logits))
    }

    fn ask(&mut self, text: &str) -> Result<B::Reading> {
        self.reading = None;
        let tokens = profile::measure(Part::Tokenize, || self.tokenizer.sequence(text))?;
        self.model.begin(&mut self.workspace, &tokens)
    }
}

fn no_tokens() -> IntentError {
    IntentError::Unavailable("an encoder emits no tokens: no token_confidence".to_owned())
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let normaliser = log_sum_exp(logits);
    logits.iter().map(|logit| logit - normaliser).collect()
}

impl<B: Backend> LabelModel for Encoder<B> {
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        if token_confidence {
            return Err(no_tokens());
        }
        Ok(Scores { log_probabilities: self.log_probabilities(text)?, token_confidence: None })
    }

    fn begin(&mut self, text: &str, goal: Goal) -> Result<Progress> {
        if goal.is_in_full() {
            return Err(no_tokens());
        }
        self.reading = Some(self.ask(text)?);
        self.advance()
    }

    fn advance(&mut self) -> Result<Progress> {
        let Some(mut reading) = self.reading.take() else { return Ok(Progress::Held) };
        Ok(match self.model.take(&mut reading)? {
            Taken::Later(signal) => {
                self.reading = Some(reading);
                Progress::Waiting(signal)
            }
            Taken::Values(logits) => {
                Progress::Scored(Scores { log_probabilities: log_softmax(&logits), token_confidence: None })
            }
        })
    }

    fn forget(&mut self) {
        self.reading = None;
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}
