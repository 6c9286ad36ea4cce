//! Qwen2 as a model that classifies, with adapters.

use crate::adapter::{AdapterFiles, Intent};
use crate::backend::cpu::Cpu;
use crate::classifier::{LabelModel, ModelInfo};
use crate::message::Message;
use crate::pack::IntentConfig;
use crate::scoring::{Goal, Progress, Scorer, Scores};
use crate::{IntentError, Result};

/// A scorer as a [`LabelModel`].
pub(super) struct QwenModel {
    pub(super) scorer: Scorer<Cpu>,
    pub(super) info: ModelInfo,
    /// SHA-256 of the file, where it was taken.
    pub(super) digest: Option<String>,
}

impl LabelModel for QwenModel {
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        self.scorer.score(text, token_confidence)
    }

    fn score_batch(&mut self, texts: &[&str]) -> Vec<Result<Scores>> {
        self.scorer.score_batch(texts)
    }

    fn begin(&mut self, text: &str, goal: Goal) -> Result<Progress> {
        self.scorer.begin(text, goal).map(|()| Progress::Running)
    }

    fn advance(&mut self) -> Result<Progress> {
        self.scorer.advance()
    }

    fn forget(&mut self) {
        self.scorer.forget();
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn set_adapter(
        &mut self,
        adapter: Option<&AdapterFiles>,
        config: &IntentConfig,
        forced: bool,
    ) -> Result<()> {
        let paths = match adapter {
            Some(files) => {
                if !forced {
                    files.intent.check_base(self.digest.as_deref())?;
                }
                Some(files.adapter(self.scorer.model().config())?)
            }
            None => None,
        };
        // Whatever runs must answer as the adapter says; beside another base it can't.
        let promised = adapter.filter(|_| !forced).map(|files| &files.intent);
        let backend = &self.info.backend;
        self.scorer.set_adapter(paths.as_ref(), config, |scorer| match promised {
            Some(intent) => check_golden(scorer, intent, backend),
            None => Ok(()),
        })?;
        self.info.prefix_tokens = self.scorer.prompt().prefix.len();
        Ok(())
    }
}

fn check_golden(scorer: &mut Scorer<Cpu>, intent: &Intent, backend: &str) -> Result<()> {
    let golden = &intent.golden;
    for vector in &golden.vectors {
        let Message::Text(text) = Message::new(&vector.text)? else { continue };
        let scores = scorer.score(&text, false)?;
        let pairs = scores.log_probabilities.iter().zip(&vector.log_probabilities);
        let is_off = |(a, b): &(&f32, &f32)| {
            let off = (*a - *b).abs();
            off.is_nan() || off > golden.tolerance
        };
        if let Some((ours, theirs)) = pairs.into_iter().find(is_off) {
            return Err(IntentError::GoldenMismatch {
                pack: format!("adapter for {}", intent.base.name),
                backend: backend.to_owned(),
                detail: format!(
                    "log-probability {ours:.4} for {theirs:.4} on {:?}; off by {} is allowed",
                    vector.text, golden.tolerance
                ),
            });
        }
    }
    Ok(())
}
