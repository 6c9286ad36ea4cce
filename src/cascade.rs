//! Classifiers in a row: the first answers at once, a later one is asked only where those before it are unsure.
//!
//! A stage's answer is final where its calibrated confidence is at least its threshold: an intent that may stay then
//! does, one that always escalates does so without anyone else being asked. It is also final where no answer would
//! change the decision ([`Decision::is_about_text`]). Whatever is still unsure after the last stage escalates. A single
//! classifier is a cascade of one stage.

mod typing;

use serde::Serialize;
use web_time::Instant;

use crate::adapter::AdapterFiles;
use crate::backend::Signal;
use crate::classifier::{Classification, Classifier, Reading, as_map};
use crate::gate::Decision;
use crate::pack::{IntentConfig, check_threshold};
use crate::scoring::Progress;
use crate::{IntentError, Result};
use typing::Typing;
pub use typing::TypingStep;

/// One or more classifiers with the same labels and the same policy.
pub struct Cascade {
    /// Asked first, in order.
    before: Vec<Classifier>,
    last: Classifier,
    /// The message that is read in steps.
    typing: Option<Typing>,
    /// What the step before waits for.
    waiting: Option<Signal>,
}

/// Per-call options.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CascadeOptions {
    /// Least confidence that is final: one for each stage, or one for all; each stage's own where there is none.
    pub thresholds: Vec<f32>,
    /// Report [`Classification::token_confidence`] where the last stage answers.
    pub token_confidence: bool,
}

/// What a stage was told, and how long it took to say it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReading {
    /// Before calibration and gate.
    pub reading: Reading,
    /// Wall-clock milliseconds.
    pub ms: f64,
}

/// What one stage said of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// Its label; `unknown` where it could say nothing.
    pub intent: String,
    /// Probability of `intent`; `None` where it could say nothing.
    pub confidence: Option<f32>,
    /// Calibrated probability of each label; `None` where it could say nothing.
    #[serde(serialize_with = "as_map")]
    pub probabilities: Option<Vec<(String, f32)>>,
    /// Least confidence that would have been final.
    pub threshold: f32,
    /// What the gate makes of this answer alone.
    pub decision: Decision,
    /// Backend with its instruction set.
    pub backend: String,
    /// Threads at work.
    pub threads: usize,
    /// Wall-clock milliseconds.
    pub ms: f64,
}

/// Whether no later stage is asked after this answer.
#[must_use]
pub fn is_final(answer: &Classification, threshold: f32) -> bool {
    answer.decision.is_about_text() || answer.confidence.is_some_and(|confidence| confidence >= threshold)
}

impl From<Classifier> for Cascade {
    fn from(last: Classifier) -> Self {
        Self { before: Vec::new(), last, typing: None, waiting: None }
    }
}

impl Cascade {
    /// The same, with the stages of `later` asked where these are unsure.
    ///
    /// # Errors
    /// `invalid_config` where labels or policies differ: which message must escalate is not for a stage to say.
    pub fn followed_by(self, later: Self) -> Result<Self> {
        check_alike(self.last.config(), later.last.config())?;
        let mut before = self.before;
        before.push(self.last);
        before.extend(later.before);
        Ok(Self { before, last: later.last, typing: None, waiting: None })
    }

    /// The stages, in the order in which they are asked.
    pub fn stages(&self) -> impl Iterator<Item = &Classifier> {
        self.before.iter().chain([&self.last])
    }

    /// How many stages there are.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.before.len() + 1
    }

    /// The last stage.
    #[must_use]
    pub fn last(&self) -> &Classifier {
        &self.last
    }

    /// The last stage alone.
    #[must_use]
    pub fn into_last(self) -> Classifier {
        self.last
    }

    /// Each stage's threshold where a caller names none: those that were chosen for these stages together, else its own.
    #[must_use]
    pub fn own_thresholds(&self) -> Vec<f32> {
        if let ([first], Some(chosen)) = (&self.before[..], &self.last.config().cascade)
            && first.info().identity.as_ref() == Some(&chosen.first)
        {
            return chosen.thresholds.to_vec();
        }
        self.stages().map(|stage| stage.config().threshold).collect()
    }

    /// Each stage's threshold: `given` for it or for all, else [its own](Self::own_thresholds).
    ///
    /// # Errors
    /// `invalid_argument` for what is no probability, and for another number of them.
    pub fn thresholds(&self, given: &[f32]) -> Result<Vec<f32>> {
        for threshold in given {
            check_threshold(*threshold).map_err(|detail| IntentError::argument("threshold", detail))?;
        }
        let stages = self.depth();
        match given {
            [] => Ok(self.own_thresholds()),
            [one] => Ok(vec![*one; stages]),
            each if each.len() == stages => Ok(each.to_vec()),
            each => {
                let detail = format!("{} for {stages} stage(s); one each, or one for all", each.len());
                Err(IntentError::argument("threshold", detail))
            }
        }
    }

    /// Classifies one message, asking no stage after a final answer. A failure of a stage is no answer: the next one is
    /// asked; that of the last one is `unknown`, escalated, with the error's code as the reason. Every stage then forgets
    /// what it held of messages, also one that was not asked.
    ///
    /// # Errors
    /// `empty_message` and `invalid_argument`: the caller's own mistakes.
    pub fn classify(&mut self, text: &str, options: &CascadeOptions) -> Result<Classification> {
        let result = self.classify_holding(text, options);
        self.forget();
        result
    }

    fn classify_holding(&mut self, text: &str, options: &CascadeOptions) -> Result<Classification> {
        let start = Instant::now();
        let thresholds = self.thresholds(&options.thresholds)?;
        let mut readings = Vec::with_capacity(thresholds.len());
        for (index, threshold) in thresholds.iter().enumerate() {
            let reading = self.read_stage(index, text, options.token_confidence)?;
            let is_final = is_final(&self.stage(index).conclude(&reading.reading, *threshold), *threshold);
            readings.push(reading);
            if is_final {
                break;
            }
        }
        let mut result = self.conclude(&readings, &thresholds);
        result.ms = milliseconds(start);
        Ok(result)
    }

    /// As [`classify`](Self::classify), of several messages that share what they cost; in their order. Each result's time
    /// is its share: that of the batches it was part of, divided by the messages in them. Every stage forgets what it
    /// held of messages before.
    ///
    /// # Errors
    /// `invalid_argument` of the thresholds; of a message its own `empty_message`.
    pub fn classify_batch(
        &mut self,
        texts: &[&str],
        thresholds: &[f32],
    ) -> Result<Vec<Result<Classification>>> {
        let thresholds = self.thresholds(thresholds)?;
        self.forget();
        let mut readings: Vec<Result<Vec<StageReading>>> = texts.iter().map(|_| Ok(Vec::new())).collect();
        let mut asked: Vec<usize> = (0..texts.len()).collect();
        for (index, threshold) in thresholds.iter().enumerate() {
            let start = Instant::now();
            let batch: Vec<&str> = asked.iter().map(|message| texts[*message]).collect();
            let read = self.stage_mut(index).read_batch(&batch);
            let ms = milliseconds(start) / asked.len().max(1) as f64;
            let stage = self.stage(index);
            let mut unsure = Vec::new();
            for (message, reading) in asked.into_iter().zip(read) {
                match (reading, &mut readings[message]) {
                    (Ok(reading), Ok(before)) => {
                        if !is_final(&stage.conclude(&reading, *threshold), *threshold) {
                            unsure.push(message);
                        }
                        before.push(StageReading { reading, ms });
                    }
                    (Err(error), slot) => *slot = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
            asked = unsure;
        }
        let conclude = |readings: Result<Vec<StageReading>>| {
            readings.map(|readings| Classification {
                ms: readings.iter().map(|reading| reading.ms).sum(),
                ..self.conclude(&readings, &thresholds)
            })
        };
        Ok(readings.into_iter().map(conclude).collect())
    }

    /// Asks every stage, so that [`conclude`](Self::conclude) can be called with any thresholds.
    ///
    /// # Errors
    /// `empty_message`.
    pub fn read(&mut self, text: &str) -> Result<Vec<StageReading>> {
        (0..self.depth()).map(|index| self.read_stage(index, text, false)).collect()
    }

    /// What each stage says at its threshold, one after the other; those after a final answer too. Times are those of
    /// the readings.
    pub fn answers<'a>(
        &'a self,
        readings: &'a [StageReading],
        thresholds: &'a [f32],
    ) -> impl Iterator<Item = Classification> + 'a {
        self.stages().zip(readings).zip(thresholds).map(|((stage, reading), threshold)| Classification {
            ms: reading.ms,
            ..stage.conclude(&reading.reading, *threshold)
        })
    }

    /// The result of `readings`, which go at least as far as the first final answer. Its time is that of the stages that
    /// had to be asked.
    #[must_use]
    pub fn conclude(&self, readings: &[StageReading], thresholds: &[f32]) -> Classification {
        let mut reports = Vec::new();
        let mut result = None;
        for (answer, threshold) in self.answers(readings, thresholds).zip(thresholds) {
            reports.push(report(&answer, *threshold));
            let is_final = is_final(&answer, *threshold);
            result = Some(answer);
            if is_final {
                break;
            }
        }
        let Some(mut result) = result else {
            let nothing = IntentError::Inference("no stage was asked".to_owned());
            return self.unclassified(Decision::error(&nothing));
        };
        if self.depth() > 1 {
            result.ms = reports.iter().map(|report| report.ms).sum();
            result.stages = reports;
        }
        result
    }

    /// What is said of a message that no stage has scored.
    #[must_use]
    pub fn unclassified(&self, decision: Decision) -> Classification {
        self.last.unclassified(decision)
    }

    /// Puts an adapter beside the weights of the last stage, or takes it away, as [`Classifier::set_adapter`] does.
    ///
    /// # Errors
    /// Those of [`Classifier::set_adapter`], and of [`followed_by`](Self::followed_by) for the adapter's configuration.
    pub fn set_adapter(&mut self, adapter: Option<&AdapterFiles>, forced: bool) -> Result<()> {
        self.check_adapter(adapter)?;
        self.last.set_adapter(adapter, forced)
    }

    /// The same in steps, as [`Classifier::begin_adapter`]; go on with [`advance_adapter`](Self::advance_adapter).
    ///
    /// # Errors
    /// As [`set_adapter`](Self::set_adapter).
    pub fn begin_adapter(&mut self, adapter: Option<&AdapterFiles>, forced: bool) -> Result<()> {
        self.check_adapter(adapter)?;
        self.last.begin_adapter(adapter, forced)
    }

    /// The next step. What it waits for is [`waiting`](Self::waiting).
    ///
    /// # Errors
    /// As [`set_adapter`](Self::set_adapter).
    pub fn advance_adapter(&mut self) -> Result<Progress> {
        let progress = self.last.advance_adapter();
        self.waiting =
            if let Ok(Progress::Waiting(signal)) = &progress { Some(signal.clone()) } else { None };
        progress
    }

    fn check_adapter(&self, adapter: Option<&AdapterFiles>) -> Result<()> {
        match self.before.first() {
            Some(first) => check_alike(first.config(), self.last.config_with(adapter)),
            None => Ok(()),
        }
    }

    /// Replaces temperature and threshold of stage number `index`, counted from 0. From then on
    /// [each stage's own threshold](Self::own_thresholds) is that of its configuration.
    ///
    /// # Errors
    /// `invalid_config`; nothing is changed then.
    pub fn set_calibration(&mut self, index: usize, temperature: f32, threshold: f32) -> Result<()> {
        self.stage_mut(index).set_calibration(temperature, threshold)?;
        let last = self.last.config();
        let (temperature, threshold) = (last.temperature, last.threshold);
        self.last.set_calibration(temperature, threshold)
    }

    fn read_stage(&mut self, index: usize, text: &str, token_confidence: bool) -> Result<StageReading> {
        let start = Instant::now();
        let token_confidence = token_confidence && index == self.before.len();
        let reading = self.stage_mut(index).read(text, token_confidence)?;
        Ok(StageReading { reading, ms: milliseconds(start) })
    }

    fn stage(&self, index: usize) -> &Classifier {
        self.before.get(index).unwrap_or(&self.last)
    }

    fn stage_mut(&mut self, index: usize) -> &mut Classifier {
        self.before.get_mut(index).unwrap_or(&mut self.last)
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn check_alike(first: &IntentConfig, later: &IntentConfig) -> Result<()> {
    if first.labels != later.labels {
        let detail = format!("{:?}; an earlier stage has {:?}", later.labels, first.labels);
        return Err(IntentError::config("labels", detail));
    }
    if first.policy != later.policy {
        return Err(IntentError::config("policy", "is not that of the earlier stage"));
    }
    Ok(())
}

fn report(answer: &Classification, threshold: f32) -> StageReport {
    StageReport {
        stage: answer.stage.clone(),
        intent: answer.intent.clone(),
        confidence: answer.confidence,
        probabilities: answer.probabilities.clone(),
        threshold,
        decision: answer.decision.clone(),
        backend: answer.backend.clone(),
        threads: answer.threads,
        ms: answer.ms,
    }
}
