//! Golden answers of an adapter.

use std::path::Path;

use super::Loader;
use crate::adapter::Adapter;
use crate::message::Message;
use crate::model::qwen2::Qwen2Config;
use crate::pack::{Golden, IntentConfig};
use crate::{IntentError, Result};

/// What the adapter that `read` gives for the base's sizes answers to `texts` beside the base in `file`.
///
/// # Errors
/// Those of loading, of `read` and of scoring.
pub fn golden_of_adapter(
    file: &Path,
    config: &IntentConfig,
    texts: &[&str],
    read: impl Fn(&Qwen2Config) -> Result<Adapter>,
) -> Result<Golden> {
    let answers = |exact: bool| -> Result<Vec<Vec<f32>>> {
        let loader = Loader::read_file(file, config.clone())?;
        let (mut scorer, _) = if exact { loader.exact() } else { loader }.finish_scorer()?;
        let adapter = read(scorer.model().config())?;
        scorer.set_adapter(Some(&adapter), config)?;
        let answer = |text: &&str| match Message::new(text)? {
            Message::Text(text) => scorer.score(&text, false).map(|scores| scores.log_probabilities),
            Message::TooLong => Err(IntentError::config("golden.vectors", format!("{text:?} is too long"))),
        };
        texts.iter().map(answer).collect()
    };
    Ok(Golden::measured(texts, &answers(false)?, &answers(true)?))
}
