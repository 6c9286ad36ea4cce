//! Qwen2 as a model that classifies, with adapters.

use super::questions::Questions;
use crate::adapter::AdapterFiles;
use crate::backend::Backend;
use crate::classifier::{LabelModel, ModelInfo};
use crate::message::Message;
use crate::pack::IntentConfig;
use crate::scoring::{Before, Goal, Prefix, Progress, Scorer, Scores};
use crate::{IntentError, Result};

/// A scorer as a [`LabelModel`].
pub(super) struct QwenModel<B: Backend> {
    scorer: Scorer<B>,
    info: ModelInfo,
    /// SHA-256 of the file, where it was taken.
    digest: Option<String>,
    trial: Option<Trial<B>>,
}

impl<B: Backend> QwenModel<B> {
    pub(super) fn new(scorer: Scorer<B>, info: ModelInfo, digest: Option<String>) -> Self {
        Self { scorer, info, digest, trial: None }
    }

    /// Takes an adapter away that has not proved itself yet.
    fn end_trial(&mut self) -> Result<()> {
        self.trial.take().map_or(Ok(()), |trial| self.scorer.restore(trial.before))
    }
}

impl<B: Backend> LabelModel for QwenModel<B> {
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

    fn prefix(&self) -> Option<Prefix> {
        Some(self.scorer.prefix())
    }

    fn begin_adapter(
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
        let same_order = self.scorer.model().backend().is_golden_order();
        let questions = promised.map(|intent| {
            let of = format!("adapter for {}", intent.base.name);
            Questions::new(intent.golden.clone(), of, same_order)
        });
        self.end_trial()?;
        let before = self.scorer.set_adapter(paths.as_ref(), config)?;
        self.trial = questions.map(|questions| Trial { before, questions });
        Ok(())
    }

    fn advance_adapter(&mut self) -> Result<Progress> {
        let Some(mut trial) = self.trial.take() else {
            self.info.prefix_tokens = self.scorer.prompt().prefix.len();
            return Ok(Progress::Held);
        };
        let scorer = &mut self.scorer;
        let progress = trial.questions.advance(&self.info.backend, |text| match text.map(Message::new) {
            None => scorer.advance(),
            Some(Err(error)) => Err(error),
            Some(Ok(Message::TooLong)) => Ok(Progress::Held),
            Some(Ok(Message::Text(text))) => {
                // Nothing of the question before it.
                scorer.forget();
                scorer.begin(&text, Goal::ScoreAtOnce).map(|()| Progress::Running)
            }
        });
        match progress {
            Ok(Progress::Held) => {
                self.scorer.forget();
                self.info.prefix_tokens = self.scorer.prompt().prefix.len();
            }
            Ok(_) => self.trial = Some(trial),
            Err(_) => self.scorer.restore(trial.before)?,
        }
        progress
    }
}

/// An adapter that must prove itself.
struct Trial<B: Backend> {
    before: Before<B>,
    questions: Questions,
}
