//! Two cheap models behind the interface of the expensive ones: what a model must beat to be worth its megabytes.
//!
//! - [`keyword`]: ordered rules, a table that can be read.
//! - [`complement_nb`]: Complement Naive Bayes over word 1-3-grams, fitted in milliseconds on the training split.
//!
//! Both are calibrated as every model is: by one temperature, fitted on the calibration half of the development set.

pub mod complement_nb;
pub mod keyword;
mod words;

use std::fmt;
use std::str::FromStr;

pub use complement_nb::ComplementNb;
pub use keyword::Keyword;

use crate::classifier::{Classifier, LabelModel, ModelInfo};
use crate::dataset::{self, Example, SEED};
use crate::eval::Evaluator;
use crate::eval::sets::calibration_half;
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// A baseline by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// [`Keyword`].
    Keyword,
    /// [`ComplementNb`].
    ComplementNb,
}

impl Baseline {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Keyword, Self::ComplementNb];

    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::ComplementNb => "complement-nb",
        }
    }

    /// The baseline as it is compared with models: fitted on the training split of [`SEED`].
    ///
    /// # Errors
    /// Those of building the dataset, and as [`fit`](Self::fit).
    pub fn classifier(self) -> Result<Classifier> {
        self.fit(&dataset::split(&dataset::build()?, SEED).train)
    }

    /// Fits on `train` (which only [`ComplementNb`] looks at) and calibrates on the calibration half of the development
    /// set. The temperature is in the classifier's configuration.
    ///
    /// # Errors
    /// `invalid_config` where an intent is none of the labels or nothing can be fitted.
    pub fn fit(self, train: &[Example]) -> Result<Classifier> {
        let config = IntentConfig::default();
        let model: Box<dyn LabelModel + Send> = match self {
            Self::Keyword => Box::new(Keyword::new(&config.labels)?),
            Self::ComplementNb => {
                let pairs = train.iter().map(|example| (example.text.as_str(), example.intent.as_str()));
                Box::new(ComplementNb::fit(&config.labels, pairs)?)
            }
        };
        let mut evaluator = Evaluator::new(self.name(), Classifier::new(model, config)?);
        let messages = calibration_half()?;
        evaluator.read(&messages, || ())?;
        evaluator.calibrate(&messages)?;
        Ok(evaluator.into_classifier())
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Baseline {
    type Err = IntentError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|baseline| baseline.name() == name).ok_or_else(|| {
            IntentError::argument("baseline", format!("{name} is neither keyword nor complement-nb"))
        })
    }
}

/// What a baseline says of itself.
fn info(name: &str, parameters: usize, bytes: usize) -> ModelInfo {
    ModelInfo {
        stage: name.to_owned(),
        architecture: name.to_owned(),
        backend: "cpu".to_owned(),
        threads: 1,
        parameters: parameters as u64,
        weight_bytes: bytes as u64,
        prefix_tokens: 0,
    }
}
