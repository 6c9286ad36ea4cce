//! Noise while training: another form of a message in each epoch.

use super::files::{Corpus, Files};
use super::further::Held;
use super::random::Random;
use super::rules::Rules;
use super::{Splits, noise};
use crate::Result;

/// Makes noisy forms of training messages that keep their labels and come near no message that is held out.
pub struct Augmenter {
    rules: Rules,
    held: Held,
}

impl Augmenter {
    /// For training on `splits.train`.
    ///
    /// # Errors
    /// `invalid_data` naming file and line.
    pub fn new(splits: &Splits) -> Result<Self> {
        let corpus = Corpus::read(&Files::EMBEDDED)?;
        let held = Held::new(splits, &corpus);
        Ok(Self { rules: corpus.rules, held })
    }

    /// A noisy form of `text`, a function of it and of `stream`, the name of a stream of random numbers; `None` where
    /// none is found.
    #[must_use]
    pub fn noisy(&self, text: &str, stream: &str) -> Option<String> {
        let mut random = Random::named(&format!("augment/{stream}/{text}"));
        let accept = |noisy: &str| self.rules.keeps_label(text, noisy) && self.held.is_clear(noisy);
        noise::noisy_from(&mut random, text, accept)
    }
}
