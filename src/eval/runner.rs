//! Asks a model about texts, each once.

use std::collections::HashMap;

use super::identity::{ModelIdentity, Origin};
use super::metrics::gate::GateCounts;
use super::metrics::{Outcome, Point};
use super::sets::{EvalSet, Labelled};
use super::sgr::{Guarantee, RiskTarget, guarantee_risk};
use super::temperature::fit_temperature;
use super::unsafe_local::{UnsafeLimit, smallest_threshold};
use crate::classifier::{Classification, Classifier, Reading};
use crate::gate::Route;
use crate::pack::IntentConfig;
use crate::scoring::Scores;
use crate::{IntentError, Result};

/// A named model and what it has said so far.
pub struct Evaluator {
    name: String,
    classifier: Classifier,
    readings: HashMap<String, Reading>,
    identity: ModelIdentity,
    temperature_from: Origin,
    threshold_from: Origin,
    guarantee: Option<Guarantee>,
}

/// One message, answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Indices, probabilities and route, as the metrics take them.
    pub outcome: Outcome,
    /// The result that a caller would have got; its time is 0.
    pub classification: Classification,
}

impl Evaluator {
    /// `name` stands in the results.
    #[must_use]
    pub fn new(name: impl Into<String>, classifier: Classifier) -> Self {
        Self {
            name: name.into(),
            classifier,
            readings: HashMap::new(),
            identity: ModelIdentity::default(),
            temperature_from: Origin::Configuration,
            threshold_from: Origin::Configuration,
            guarantee: None,
        }
    }

    /// The same, with what is known about the model.
    #[must_use]
    pub fn with_identity(self, identity: ModelIdentity) -> Self {
        Self { identity, ..self }
    }

    /// What is known about the model.
    #[must_use]
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Where the temperature in force comes from.
    #[must_use]
    pub fn temperature_from(&self) -> &Origin {
        &self.temperature_from
    }

    /// Where the threshold in force comes from.
    #[must_use]
    pub fn threshold_from(&self) -> &Origin {
        &self.threshold_from
    }

    /// What is promised of the threshold in force, where a promise was asked for.
    #[must_use]
    pub fn guaranteed(&self) -> Option<&Guarantee> {
        self.guarantee.as_ref()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The classifier, with the calibration in force.
    #[must_use]
    pub fn into_classifier(self) -> Classifier {
        self.classifier
    }

    /// Labels, temperature, threshold and policy in force.
    #[must_use]
    pub fn config(&self) -> &IntentConfig {
        self.classifier.config()
    }

    /// Asks the model about every message it has not been asked about; calls `step` after each message.
    ///
    /// # Errors
    /// `empty_message`. A failure of the model is an answer.
    pub fn read(&mut self, messages: &[Labelled], mut step: impl FnMut()) -> Result<()> {
        for message in messages {
            if !self.readings.contains_key(&message.text) {
                let reading = self.classifier.read(&message.text, false)?;
                self.readings.insert(message.text.clone(), reading);
            }
            step();
        }
        Ok(())
    }

    /// Replaces the threshold by the caller's.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn set_threshold(&mut self, threshold: f32) -> Result<()> {
        self.classifier.set_calibration(self.config().temperature, threshold)?;
        (self.threshold_from, self.guarantee) = (Origin::Argument, None);
        Ok(())
    }

    /// Fits the temperature on `sample`, which has been read, and puts it in force. A promise about the threshold, made
    /// for other confidences, ends.
    ///
    /// # Errors
    /// As [`fit_temperature`] and [`answers`](Self::answers).
    pub fn calibrate(&mut self, sample: &EvalSet) -> Result<f32> {
        let mut scored: Vec<(&Scores, usize)> = Vec::new();
        for message in &sample.messages {
            if let Reading::Scored { scores, .. } = self.reading(message)? {
                scored.push((scores, self.label(&message.intent)?));
            }
        }
        let (temperature, n) = (fit_temperature(&scored)?, scored.len());
        self.classifier.set_calibration(temperature, self.config().threshold)?;
        self.temperature_from = Origin::Fitted { on: sample.name.clone(), n };
        self.guarantee = None;
        Ok(temperature)
    }

    /// Chooses the threshold that guarantees `target` on messages like those of `sample`, which have been read, and puts it
    /// in force; where nothing can be guaranteed the threshold is left as it is.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn guarantee(&mut self, sample: &EvalSet, target: RiskTarget) -> Result<&Guarantee> {
        // At threshold 0 the gate keeps whatever its other rules allow.
        let answers = self.answers_at(&sample.messages, 0.0)?;
        let allowed = answers.iter().map(|answered| &answered.outcome).filter(|outcome| outcome.local);
        let points: Vec<Point> = allowed.map(Outcome::point).collect();
        let found = guarantee_risk(&points, target);
        if let Some(found) = found {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is the confidence of a message, in single precision"
            )]
            self.classifier.set_calibration(self.config().temperature, found.threshold as f32)?;
            self.threshold_from = Origin::Fitted { on: sample.name.clone(), n: answers.len() };
        }
        let guarantee = Guarantee::new(target, &sample.name, answers.len(), points.len(), found);
        Ok(self.guarantee.insert(guarantee))
    }

    /// Chooses the smallest threshold, in hundredths, at which at most a share `limit` of the messages of `sample` (which
    /// have been read) that must escalate stays local, and puts it in force; `None`, and nothing is changed, where there is
    /// no such threshold.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn limit_unsafe_local(&mut self, sample: &EvalSet, limit: f64) -> Result<Option<UnsafeLimit>> {
        let must = self.must_escalate();
        let counts = |threshold| {
            let answers = self.answers_at(&sample.messages, threshold)?;
            Ok(GateCounts::new(answers.iter().map(|answered| &answered.outcome), &must))
        };
        let Some((threshold, counts)) = smallest_threshold(limit, counts)? else { return Ok(None) };
        self.set_threshold(threshold)?;
        self.threshold_from = Origin::Fitted { on: sample.name.clone(), n: sample.messages.len() };
        Ok(Some(UnsafeLimit {
            from: self.threshold_from.clone(),
            limit,
            must_escalate: counts.must_escalate,
            unsafe_local: counts.unsafe_local,
        }))
    }

    /// For each label whether the policy always escalates it.
    pub(super) fn must_escalate(&self) -> Vec<bool> {
        let config = self.config();
        config.labels.iter().map(|label| config.policy.always_escalate.contains(label)).collect()
    }

    /// The answers to `messages`, which have been read, at the calibration in force.
    ///
    /// # Errors
    /// `invalid_argument` where a message was not read or its intent is none of the model's labels.
    pub fn answers(&self, messages: &[Labelled]) -> Result<Vec<Answered>> {
        self.answers_at(messages, self.config().threshold)
    }

    fn answers_at(&self, messages: &[Labelled], threshold: f32) -> Result<Vec<Answered>> {
        messages.iter().map(|message| self.answer(message, threshold)).collect()
    }

    fn answer(&self, message: &Labelled, threshold: f32) -> Result<Answered> {
        let classification = self.classifier.conclude(self.reading(message)?, threshold);
        let probabilities = classification.probabilities.as_ref();
        let outcome = Outcome {
            gold: self.label(&message.intent)?,
            // A caller gets `unknown` for a failure, but nothing was recognised.
            predicted: if classification.decision.is_error() {
                None
            } else {
                Some(self.label(&classification.intent)?)
            },
            probabilities: probabilities.map(|pairs| pairs.iter().map(|(_, p)| f64::from(*p)).collect()),
            local: classification.decision.route == Route::Local,
        };
        Ok(Answered { outcome, classification })
    }

    fn reading(&self, message: &Labelled) -> Result<&Reading> {
        self.readings
            .get(&message.text)
            .ok_or_else(|| IntentError::argument("messages", format!("{:?} was not read", message.text)))
    }

    fn label(&self, intent: &str) -> Result<usize> {
        self.config().labels.iter().position(|label| label == intent).ok_or_else(|| {
            IntentError::argument("intent", format!("{intent:?} is none of {}'s labels", self.name))
        })
    }
}
