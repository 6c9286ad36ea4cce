//! From a text to a decision.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use web_time::Instant;

use crate::adapter::AdapterFiles;
use crate::backend::{Signal, Taken};
use crate::cascade::StageReport;
use crate::gate::{Answer, Decision, Gate, TOO_LONG};
use crate::message::Message;
use crate::pack::{IntentConfig, check_threshold};
use crate::scoring::{Goal, Prefix, Progress, Scores, argmax, calibrate};
use crate::{IntentError, Result};

/// The intent of everything that could not be classified.
pub const UNKNOWN: &str = "unknown";

/// A model that turns a message into a distribution over labels.
pub trait LabelModel {
    /// Scores `text`, already trimmed and normalised; `token_confidence` asks for that figure too.
    ///
    /// # Errors
    /// Whatever kept the model from a distribution.
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores>;
    /// Scores several texts, already trimmed and normalised; results are in their order, each what
    /// [`score`](Self::score) gives.
    fn score_batch(&mut self, texts: &[&str]) -> Vec<Result<Scores>> {
        texts.iter().map(|text| self.score(text, false)).collect()
    }
    /// Begins `text`, already trimmed and normalised, ending what was under way. A model that holds nothing between
    /// calls scores it at once, whatever the goal.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn begin(&mut self, text: &str, goal: Goal) -> Result<Progress> {
        self.score(text, goal.is_in_full()).map(Progress::Scored)
    }
    /// Goes on with what [`begin`](Self::begin) began, by some milliseconds.
    ///
    /// # Errors
    /// As [`score`](Self::score); nothing is under way then.
    fn advance(&mut self) -> Result<Progress> {
        Ok(Progress::Held)
    }
    /// Ends what is under way and forgets what was held of messages.
    fn forget(&mut self) {}
    /// What runs.
    fn info(&self) -> &ModelInfo;
    /// What a constant beginning of prompts takes, where there is one.
    fn prefix(&self) -> Option<Prefix> {
        None
    }
    /// Puts an adapter beside the weights, or none, with the labels and the prompt of `config`, on trial: go on with
    /// [`advance_adapter`](Self::advance_adapter). After an error everything is as it was.
    ///
    /// # Errors
    /// `unavailable` for a model that takes none; `wrong_base` for an adapter of another base, or of one that is
    /// not known, unless `forced`; and those of its files.
    fn begin_adapter(
        &mut self,
        adapter: Option<&AdapterFiles>,
        config: &IntentConfig,
        forced: bool,
    ) -> Result<()> {
        let _ = (adapter, config, forced);
        Err(IntentError::Unavailable(format!("{} takes no adapter", self.info().stage)))
    }
    /// Goes on with it: beside its own base it must answer its golden questions. It stays when nothing is under way any
    /// more. After an error everything is as it was before the adapter.
    ///
    /// # Errors
    /// `golden_mismatch`, and those of a forward pass.
    fn advance_adapter(&mut self) -> Result<Progress> {
        Ok(Progress::Held)
    }
}

/// What runs, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// Name of the stage in results.
    pub stage: String,
    /// Architecture, as the model file names it.
    pub architecture: String,
    /// Backend with its instruction set.
    pub backend: String,
    /// Threads at work.
    pub threads: usize,
    /// Weights, counted one by one.
    pub parameters: u64,
    /// Bytes of weights in the file.
    pub weight_bytes: u64,
    /// Tokens of the constant prefix.
    pub prefix_tokens: usize,
    /// SHA-256 of a pack's manifest, or of the file of a base for adapters; lower-case hex. `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// A classified message. Serialised it is the result object of the command line and of JavaScript.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The label; `unknown` where nothing could be said.
    pub intent: String,
    /// Exactly `{"intent": "<label>"}`.
    pub json: String,
    /// Probability of `intent`; `None` where the message was not classified.
    pub confidence: Option<f32>,
    /// Calibrated probability of each label; `None` where the message was not classified.
    #[serde(serialize_with = "as_map")]
    pub probabilities: Option<Vec<(String, f32)>>,
    /// Lead of the best label over the second best; `None` where the message was not classified.
    pub margin: Option<f32>,
    /// Mean full-softmax probability of the emitted answer tokens, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_confidence: Option<f32>,
    /// Where the message goes, and why.
    pub decision: Decision,
    /// The model that answered.
    pub stage: String,
    /// Backend with its instruction set.
    pub backend: String,
    /// Threads at work.
    pub threads: usize,
    /// What each stage of a cascade that was asked said, the one that answered last; empty where there is one stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageReport>,
    /// Wall-clock milliseconds.
    pub ms: f64,
}

pub(crate) fn as_map<S: Serializer>(
    pairs: &Option<Vec<(String, f32)>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let Some(pairs) = pairs else { return serializer.serialize_none() };
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (label, probability) in pairs {
        map.serialize_entry(label, probability)?;
    }
    map.end()
}

/// Per-call options.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassifyOptions {
    /// Least confidence that stays local; the configuration's where absent.
    pub threshold: Option<f32>,
    /// Report [`Classification::token_confidence`].
    pub token_confidence: bool,
}

/// A message as the model left it: before calibration and gate, so that both can be changed without asking again.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The model's scores of the text, which is trimmed and normalised.
    Scored {
        /// What was scored.
        text: String,
        /// The model's answer.
        scores: Scores,
    },
    /// Too long, or the model failed.
    Unscored(Decision),
}

impl Reading {
    fn new(text: String, scores: Result<Scores>) -> Self {
        match scores {
            Ok(scores) => Self::Scored { text, scores },
            Err(error) => Self::failed(&error),
        }
    }

    fn failed(error: &IntentError) -> Self {
        Self::Unscored(Decision::error(error))
    }
}

/// How far a message has come that is read in steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// There is more to do.
    Running,
    /// There is more to do when the signal says so.
    Waiting(Signal),
    /// The model holds what it can hold of the message; or nothing is under way.
    Held,
    /// It is read.
    Read(Reading),
}

/// A model, its calibration and the gate.
pub struct Classifier {
    model: Box<dyn LabelModel + Send>,
    config: IntentConfig,
    /// What it was built with, for when an adapter is taken away.
    own: IntentConfig,
    gate: Gate,
    /// The message that is read in steps, trimmed and normalised.
    under_way: String,
    /// What is in force when the adapter has proved itself that is on trial.
    trial: Option<(IntentConfig, Gate)>,
}

impl Classifier {
    /// A classifier around any model.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn new(model: Box<dyn LabelModel + Send>, config: IntentConfig) -> Result<Self> {
        config.check()?;
        let gate = Gate::new(&config.labels, &config.policy)?;
        Ok(Self { model, own: config.clone(), config, gate, under_way: String::new(), trial: None })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &IntentConfig {
        &self.config
    }

    /// What runs.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// What a constant beginning of prompts takes, where there is one.
    #[must_use]
    pub fn prefix(&self) -> Option<Prefix> {
        self.model.prefix()
    }

    /// Classifies one message. A failure of the model is not an error here: it is `unknown`, escalated, with the
    /// error's code as the reason.
    ///
    /// # Errors
    /// `empty_message` and `invalid_argument`: the caller's own mistakes.
    pub fn classify(&mut self, text: &str, options: ClassifyOptions) -> Result<Classification> {
        let start = Instant::now();
        let threshold = options.threshold.unwrap_or(self.config.threshold);
        check_threshold(threshold).map_err(|detail| IntentError::argument("threshold", detail))?;
        let reading = self.read(text, options.token_confidence)?;
        let mut result = self.conclude(&reading, threshold);
        result.ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(result)
    }

    /// The first half of [`classify`](Self::classify): asks the model. A failure of the model is a reading, not an
    /// error.
    ///
    /// # Errors
    /// `empty_message`.
    pub fn read(&mut self, text: &str, token_confidence: bool) -> Result<Reading> {
        Ok(match Message::new(text)? {
            Message::TooLong => Reading::Unscored(Decision::escalate(TOO_LONG)),
            Message::Text(text) => {
                let scores = self.model.score(&text, token_confidence);
                Reading::new(text, scores)
            }
        })
    }

    /// As [`read`](Self::read), of several messages that share what they cost; in their order.
    pub fn read_batch(&mut self, texts: &[&str]) -> Vec<Result<Reading>> {
        let messages: Vec<Result<Message>> = texts.iter().map(|text| Message::new(text)).collect();
        let scored: Vec<&str> = messages.iter().filter_map(|message| message.as_ref().ok()?.text()).collect();
        let mut scores = self.model.score_batch(&scored).into_iter();
        let mut reading = |message| match message {
            Message::TooLong => Reading::Unscored(Decision::escalate(TOO_LONG)),
            Message::Text(text) => scores.next().map_or_else(
                || Reading::failed(&IntentError::Inference("a message of a batch was not scored".to_owned())),
                |scores| Reading::new(text, scores),
            ),
        };
        messages.into_iter().map(|message| message.map(&mut reading)).collect()
    }

    /// As [`read`](Self::read), in steps: begins a message, which ends what was under way and uses what is held of the
    /// messages before. Go on with [`advance`](Self::advance).
    ///
    /// # Errors
    /// `empty_message`; what was under way is ended all the same.
    pub fn begin(&mut self, text: &str, goal: Goal) -> Result<Step> {
        let message = Message::new(text);
        if message.as_ref().ok().and_then(Message::text).is_none() {
            self.model.forget();
        }
        Ok(match message? {
            Message::TooLong => Step::Read(Reading::Unscored(Decision::escalate(TOO_LONG))),
            Message::Text(text) => {
                let progress = self.model.begin(&text, goal);
                self.under_way = text;
                self.step(progress)
            }
        })
    }

    /// Does the next step, some milliseconds of work.
    pub fn advance(&mut self) -> Step {
        let progress = self.model.advance();
        self.step(progress)
    }

    fn step(&mut self, progress: Result<Progress>) -> Step {
        let scores = match progress {
            Ok(Progress::Running) => return Step::Running,
            Ok(Progress::Waiting(signal)) => return Step::Waiting(signal),
            Ok(Progress::Held) => return Step::Held,
            Ok(Progress::Scored(scores)) => Ok(scores),
            Err(error) => Err(error),
        };
        Step::Read(Reading::new(std::mem::take(&mut self.under_way), scores))
    }

    /// Ends what is under way and forgets all messages.
    pub fn forget(&mut self) {
        self.under_way.clear();
        self.model.forget();
    }

    /// The second half: calibrates a reading and asks the gate. The result's time is 0.
    #[must_use]
    pub fn conclude(&self, reading: &Reading, threshold: f32) -> Classification {
        match reading {
            Reading::Scored { text, scores } => self.classified(text, scores, threshold),
            Reading::Unscored(decision) => self.unclassified(decision.clone()),
        }
    }

    /// The configuration that is in force beside an adapter, or without any.
    #[must_use]
    pub fn config_with<'a>(&'a self, adapter: Option<&'a AdapterFiles>) -> &'a IntentConfig {
        adapter.map_or(&self.own, |adapter| adapter.intent_config())
    }

    /// Puts an adapter beside the loaded weights, with its labels, prompt, calibration and policy; none takes it away.
    /// After an error everything is as it was.
    ///
    /// # Errors
    /// As [`LabelModel::begin_adapter`] and [`LabelModel::advance_adapter`], and `unavailable` where a device's answers
    /// can't be waited for.
    pub fn set_adapter(&mut self, adapter: Option<&AdapterFiles>, forced: bool) -> Result<()> {
        self.begin_adapter(adapter, forced)?;
        loop {
            match self.advance_adapter()? {
                Progress::Running => {}
                Progress::Waiting(signal) => Taken::Later(signal).now().map(|_| ())?,
                Progress::Held | Progress::Scored(_) => return Ok(()),
            }
        }
    }

    /// The first step of [`set_adapter`](Self::set_adapter); go on with [`advance_adapter`](Self::advance_adapter), and
    /// ask nothing before it has said that nothing is under way.
    ///
    /// # Errors
    /// As [`LabelModel::begin_adapter`].
    pub fn begin_adapter(&mut self, adapter: Option<&AdapterFiles>, forced: bool) -> Result<()> {
        let config = self.config_with(adapter).clone();
        config.check()?;
        let gate = Gate::new(&config.labels, &config.policy)?;
        self.model.begin_adapter(adapter, &config, forced)?;
        self.trial = Some((config, gate));
        Ok(())
    }

    /// The next step.
    ///
    /// # Errors
    /// As [`LabelModel::advance_adapter`].
    pub fn advance_adapter(&mut self) -> Result<Progress> {
        let progress = self.model.advance_adapter();
        match (&progress, self.trial.take()) {
            (Ok(Progress::Held), Some((config, gate))) => (self.config, self.gate) = (config, gate),
            (Ok(_), trial) => self.trial = trial,
            (Err(_), _) => {}
        }
        progress
    }

    /// Replaces temperature and threshold, and thereby the thresholds of a cascade, which were chosen for others.
    ///
    /// # Errors
    /// `invalid_config`; nothing is changed then.
    pub fn set_calibration(&mut self, temperature: f32, threshold: f32) -> Result<()> {
        let config = IntentConfig { temperature, threshold, cascade: None, ..self.config.clone() };
        config.check()?;
        self.config = config;
        Ok(())
    }

    fn classified(&self, text: &str, scores: &Scores, threshold: f32) -> Classification {
        let probabilities = calibrate(&scores.log_probabilities, self.config.temperature);
        let intent = argmax(&probabilities);
        let decision = self.gate.decide(Answer { text, intent, probabilities: &probabilities }, threshold);
        let Some(label) = self.config.labels.get(intent).filter(|_| !decision.reason.starts_with("error:"))
        else {
            return self.unclassified(decision);
        };
        let second = probabilities.iter().enumerate().filter(|(index, _)| *index != intent);
        let second = second.fold(0f32, |best, (_, p)| best.max(*p));
        let pairs = self.config.labels.iter().cloned().zip(probabilities.iter().copied()).collect();
        Classification {
            confidence: Some(probabilities[intent]),
            margin: Some(probabilities[intent] - second),
            probabilities: Some(pairs),
            token_confidence: scores.token_confidence,
            ..self.result(label, decision)
        }
    }

    /// What is said of a message that no model has scored.
    #[must_use]
    pub fn unclassified(&self, decision: Decision) -> Classification {
        self.result(UNKNOWN, decision)
    }

    fn result(&self, intent: &str, decision: Decision) -> Classification {
        let info = self.model.info();
        Classification {
            intent: intent.to_owned(),
            json: strict_json(intent),
            confidence: None,
            probabilities: None,
            margin: None,
            token_confidence: None,
            decision,
            stage: info.stage.clone(),
            backend: info.backend.clone(),
            threads: info.threads,
            stages: Vec::new(),
            ms: 0.0,
        }
    }
}

/// Exactly `{"intent": "<label>"}`; labels are checked to need no escapes.
#[must_use]
pub fn strict_json(label: &str) -> String {
    format!("{{\"intent\": \"{label}\"}}")
}
