//! Asks a model about texts, each once.

use std::collections::HashMap;

use super::identity::{ModelIdentity, Origin};
use super::metrics::{Outcome, Point};
use super::sets::{EvalSet, Labelled};
use super::sgr::{Guarantee, RiskTarget, guarantee_risk};
use super::sweep::{self, Choice};
use super::temperature::fit_temperature;
use crate::cascade::{Cascade, StageReading};
use crate::classifier::{Classification, Classifier, Reading};
use crate::gate::Route;
use crate::pack::{CascadeConfig, IntentConfig};
use crate::scoring::Scores;
use crate::{IntentError, Result};

/// A named model, or a cascade of models, and what it has said so far.
pub struct Evaluator {
    name: String,
    cascade: Cascade,
    /// Of every stage, so that thresholds can be changed without asking again.
    readings: HashMap<String, Vec<StageReading>>,
    identity: ModelIdentity,
    temperature_from: Origin,
    threshold_from: Origin,
    guarantee: Option<Guarantee>,
    choice: Option<Choice>,
}

/// One message, answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Indices, probabilities and route, as the metrics take them.
    pub outcome: Outcome,
    /// The result that a caller would have got, in the time that the model took when it was asked.
    pub classification: Classification,
}

impl Answered {
    /// How many stages had to be asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        // Where there is one stage it is not listed.
        self.classification.stages.len().max(1)
    }
}

impl Evaluator {
    /// `name` stands in the results.
    #[must_use]
    pub fn new(name: impl Into<String>, model: impl Into<Cascade>) -> Self {
        Self {
            name: name.into(),
            cascade: model.into(),
            readings: HashMap::new(),
            identity: ModelIdentity::default(),
            temperature_from: Origin::Configuration,
            threshold_from: Origin::Configuration,
            guarantee: None,
            choice: None,
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

    /// How the thresholds in force were chosen, where they were chosen for a rate of unsafe answers.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The classifier, with the calibration in force; of a cascade its last stage.
    #[must_use]
    pub fn into_classifier(self) -> Classifier {
        self.cascade.into_last()
    }

    /// Labels, temperature, threshold and policy in force; of a cascade those of its last stage. Labels and policy are
    /// the same for all.
    #[must_use]
    pub fn config(&self) -> &IntentConfig {
        self.cascade.last().config()
    }

    /// The stages; a model is one of one stage.
    #[must_use]
    pub fn cascade(&self) -> &Cascade {
        &self.cascade
    }

    /// Thresholds in force, one a stage.
    #[must_use]
    pub fn thresholds(&self) -> Vec<f32> {
        self.cascade.own_thresholds()
    }

    /// The thresholds in force of a cascade of two whose first model has an identity, as its last model's configuration
    /// keeps them.
    #[must_use]
    pub fn cascade_config(&self) -> Option<CascadeConfig> {
        let thresholds = self.thresholds().try_into().ok()?;
        let first = self.cascade.stages().next()?.info().identity.clone()?;
        Some(CascadeConfig { first, thresholds })
    }

    /// Whether the policy always escalates each label.
    #[must_use]
    pub fn must_escalate(&self) -> Vec<bool> {
        let config = self.config();
        config.labels.iter().map(|label| config.policy.always_escalate.contains(label)).collect()
    }

    /// Asks the model, all stages of it, about every message it has not been asked about; calls `step` after each message.
    ///
    /// # Errors
    /// `empty_message`. A failure of the model is an answer.
    pub fn read(&mut self, messages: &[Labelled], mut step: impl FnMut()) -> Result<()> {
        for message in messages {
            if !self.readings.contains_key(&message.text) {
                let reading = self.cascade.read(&message.text)?;
                self.readings.insert(message.text.clone(), reading);
            }
            step();
        }
        Ok(())
    }

    /// Replaces the thresholds by the caller's: one for each stage, or one for all.
    ///
    /// # Errors
    /// As [`Cascade::thresholds`].
    pub fn set_thresholds(&mut self, given: &[f32]) -> Result<()> {
        let thresholds = self.cascade.thresholds(given)?;
        self.put_thresholds(&thresholds, Origin::Argument)
    }

    fn put_thresholds(&mut self, thresholds: &[f32], from: Origin) -> Result<()> {
        for (stage, threshold) in thresholds.iter().enumerate() {
            let temperature = self.temperature(stage);
            self.cascade.set_calibration(stage, temperature, *threshold)?;
        }
        (self.threshold_from, self.guarantee, self.choice) = (from, None, None);
        Ok(())
    }

    fn temperature(&self, stage: usize) -> f32 {
        self.cascade.stages().nth(stage).map_or(1.0, |stage| stage.config().temperature)
    }

    /// Fits the temperature of each stage on `sample`, which has been read, and puts it in force. Promises about
    /// thresholds, made for other confidences, end. Returns that of the last stage.
    ///
    /// # Errors
    /// As [`fit_temperature`] and [`answers`](Self::answers).
    pub fn calibrate(&mut self, sample: &EvalSet) -> Result<f32> {
        let mut n = 0;
        for (stage, threshold) in self.thresholds().into_iter().enumerate() {
            let mut scored: Vec<(&Scores, usize)> = Vec::new();
            for message in &sample.messages {
                if let Some(Reading::Scored { scores, .. }) =
                    self.readings(message)?.get(stage).map(|stage| &stage.reading)
                {
                    scored.push((scores, self.label(&message.intent)?));
                }
            }
            n = scored.len();
            let temperature = fit_temperature(&scored)?;
            self.cascade.set_calibration(stage, temperature, threshold)?;
        }
        self.temperature_from = Origin::Fitted { on: sample.name.clone(), n };
        (self.guarantee, self.choice) = (None, None);
        Ok(self.config().temperature)
    }

    /// Chooses the threshold that guarantees `target` on messages like those of `sample`, which have been read, and puts it
    /// in force; where nothing can be guaranteed the threshold is left as it is.
    ///
    /// # Errors
    /// As [`answers`](Self::answers), and `invalid_argument` for a cascade: the promise is about one confidence.
    pub fn guarantee(&mut self, sample: &EvalSet, target: RiskTarget) -> Result<&Guarantee> {
        if self.cascade.depth() > 1 {
            let detail = "a cascade has a threshold for each stage; --max-unsafe chooses them";
            return Err(IntentError::argument("--sgr-risk", detail));
        }
        // At threshold 0 the gate keeps whatever its other rules allow.
        let answers = self.answers_at(&sample.messages, &[0.0])?;
        let allowed = answers.iter().map(|answered| &answered.outcome).filter(|outcome| outcome.local);
        let points: Vec<Point> = allowed.map(Outcome::point).collect();
        let found = guarantee_risk(&points, target);
        if let Some(found) = found {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is the confidence of a message, in single precision"
            )]
            let threshold = found.threshold as f32;
            let from = Origin::Fitted { on: sample.name.clone(), n: answers.len() };
            self.put_thresholds(&[threshold], from)?;
        }
        let guarantee = Guarantee::new(target, &sample.name, answers.len(), points.len(), found);
        Ok(self.guarantee.insert(guarantee))
    }

    /// Chooses thresholds with at most a share `max_unsafe` of unsafe answers on `sample`, which has been read, as
    /// [`sweep::choose`] does, and puts them in force; where there are none the thresholds are left as they are.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn choose(&mut self, sample: &EvalSet, max_unsafe: f64) -> Result<&Choice> {
        let choice = sweep::choose(self, sample, max_unsafe)?;
        if let Some(chosen) = &choice.figures {
            let from = Origin::Fitted { on: sample.name.clone(), n: choice.n };
            let thresholds = chosen.thresholds.clone();
            self.put_thresholds(&thresholds, from)?;
        }
        Ok(self.choice.insert(choice))
    }

    /// The answers to `messages`, which have been read, at the calibration in force.
    ///
    /// # Errors
    /// `invalid_argument` where a message was not read or its intent is none of the model's labels.
    pub fn answers(&self, messages: &[Labelled]) -> Result<Vec<Answered>> {
        self.answers_at(messages, &self.thresholds())
    }

    /// The same at other thresholds, one a stage.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn answers_at(&self, messages: &[Labelled], thresholds: &[f32]) -> Result<Vec<Answered>> {
        messages.iter().map(|message| self.answer(message, thresholds)).collect()
    }

    fn answer(&self, message: &Labelled, thresholds: &[f32]) -> Result<Answered> {
        let classification = self.cascade.conclude(self.readings(message)?, thresholds);
        Ok(Answered { outcome: self.outcome(message, &classification)?, classification })
    }

    /// What each stage makes of a message, which has been read, whether or not it would have been asked.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub(super) fn stage_answers(&self, message: &Labelled, thresholds: &[f32]) -> Result<Vec<Answered>> {
        let answers = self.cascade.answers(self.readings(message)?, thresholds);
        let answered = |classification: Classification| {
            Ok(Answered { outcome: self.outcome(message, &classification)?, classification })
        };
        answers.map(answered).collect()
    }

    fn outcome(&self, message: &Labelled, classification: &Classification) -> Result<Outcome> {
        let probabilities = classification.probabilities.as_ref();
        Ok(Outcome {
            gold: self.label(&message.intent)?,
            // A caller gets `unknown` for a failure, but nothing was recognised.
            predicted: if classification.decision.is_error() {
                None
            } else {
                Some(self.label(&classification.intent)?)
            },
            probabilities: probabilities.map(|pairs| pairs.iter().map(|(_, p)| f64::from(*p)).collect()),
            local: classification.decision.route == Route::Local,
        })
    }

    fn readings(&self, message: &Labelled) -> Result<&[StageReading]> {
        self.readings
            .get(&message.text)
            .map(Vec::as_slice)
            .ok_or_else(|| IntentError::argument("messages", format!("{:?} was not read", message.text)))
    }

    fn label(&self, intent: &str) -> Result<usize> {
        self.config().labels.iter().position(|label| label == intent).ok_or_else(|| {
            IntentError::argument("intent", format!("{intent:?} is none of {}'s labels", self.name))
        })
    }
}
