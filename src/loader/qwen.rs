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
    /// Whether the backend adds in the order of this engine's kernels and rounds as they do.
    pub(super) same_order: bool,
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
        let sizes = self.scorer.model().config();
        if adapter.is_some() && !forced && sizes.label_rows.is_some() {
            let detail = format!(
                "{} is a classification pack, which has its adapter merged into its weights and takes none beside them",
                self.info.stage
            );
            return Err(IntentError::Unavailable(detail));
        }
        let base = adapter.map(|files| files.check_base(self.digest.as_deref()));
        // Whatever runs must answer as the adapter says; beside another base it can't.
        let promised = match base {
            Some(Err(error)) if !forced => return Err(error),
            Some(Ok(())) => adapter.and_then(AdapterFiles::intent),
            Some(Err(_)) | None => None,
        };
        let paths = adapter.map(|files| files.adapter(sizes)).transpose()?;
        let (backend, same_order) = (&self.info.backend, self.same_order);
        self.scorer.set_adapter(paths.as_ref(), config, |scorer| match promised {
            Some(intent) => check_golden(scorer, intent, backend, same_order),
            None => Ok(()),
        })?;
        self.info.prefix_tokens = self.scorer.prompt().prefix.len();
        Ok(())
    }
}

fn check_golden(scorer: &mut Scorer<Cpu>, intent: &Intent, backend: &str, same_order: bool) -> Result<()> {
    let golden = &intent.golden;
    let tolerance = golden.tolerance(same_order);
    for vector in &golden.vectors {
        let mismatch = |found: String| IntentError::GoldenMismatch {
            pack: format!("adapter for {}", intent.base.name),
            backend: backend.to_owned(),
            detail: format!("{found} on {:?}; off by {tolerance} is allowed", vector.text),
        };
        let Message::Text(text) = Message::new(&vector.text)? else {
            return Err(mismatch("no answer".to_owned()));
        };
        let scores = scorer.score(&text, false)?;
        let pairs = scores.log_probabilities.iter().zip(&vector.log_probabilities);
        let is_off = |(a, b): &(&f32, &f32)| {
            let off = (*a - *b).abs();
            off.is_nan() || off > tolerance
        };
        if let Some((ours, theirs)) = pairs.into_iter().find(is_off) {
            return Err(mismatch(format!("log-probability {ours:.4} for {theirs:.4}")));
        }
    }
    Ok(())
}
