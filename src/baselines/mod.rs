//! Two cheap models behind the interface of the expensive ones: what a model must beat to be worth its megabytes.
//!
//! - [`keyword`]: ordered rules, a table that can be read.
//! - [`complement_nb`]: Complement Naive Bayes over word 1-3-grams, fitted in milliseconds on the training split.
//!
//! Both are calibrated as every model is: by one temperature, fitted on the development set's part for that.

pub mod complement_nb;
pub mod keyword;
mod words;

use std::fmt;
use std::str::FromStr;

pub use complement_nb::ComplementNb;
pub use keyword::Keyword;

use crate::classifier::{Classifier, LabelModel, ModelInfo};
use crate::dataset::{self, CalibrationPart, Example, SEED};
use crate::eval::Evaluator;
use crate::eval::identity::{ModelIdentity, TrainedOn};
use crate::eval::sets::calibration;
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
        Ok(self.evaluator()?.into_classifier())
    }

    /// The same, ready to be evaluated: it knows what it was trained and calibrated on.
    ///
    /// # Errors
    /// As [`classifier`](Self::classifier).
    pub fn evaluator(self) -> Result<Evaluator> {
        let train = dataset::split(&dataset::build()?, SEED).train;
        let data = match self {
            Self::Keyword => "nothing, its rules are written by hand".to_owned(),
            Self::ComplementNb => format!("{} messages: the train part for seed {SEED}", train.len()),
        };
        let identity = ModelIdentity {
            file: None,
            adapter: None,
            trained_on: Some(TrainedOn { data, extra: false }),
            configuration: Some("built in".to_owned()),
        };
        Ok(self.calibrated(&train)?.with_identity(identity))
    }

    /// Fits on `train` (which only [`ComplementNb`] looks at) and calibrates on the development set's part for
    /// temperatures. The temperature is in the classifier's configuration.
    ///
    /// # Errors
    /// `invalid_config` where an intent is none of the labels or nothing can be fitted.
    pub fn fit(self, train: &[Example]) -> Result<Classifier> {
        Ok(self.calibrated(train)?.into_classifier())
    }

    fn calibrated(self, train: &[Example]) -> Result<Evaluator> {
        let config = IntentConfig::default();
        let model: Box<dyn LabelModel + Send> = match self {
            Self::Keyword => Box::new(Keyword::new(&config.labels)?),
            Self::ComplementNb => {
                let pairs = train.iter().map(|example| (example.text.as_str(), example.intent.as_str()));
                Box::new(ComplementNb::fit(&config.labels, pairs)?)
            }
        };
        let mut evaluator = Evaluator::new(self.name(), Classifier::new(model, config)?);
        let sample = calibration(CalibrationPart::Temperature)?;
        evaluator.read(&sample.messages, || ())?;
        evaluator.calibrate(&sample)?;
        Ok(evaluator)
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
        identity: None,
    }
}
