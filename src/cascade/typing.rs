//! A message in steps, while it is typed, through the stages of a cascade.

use web_time::Instant;

use super::{Cascade, StageReading, is_final, milliseconds};
use crate::Result;
use crate::backend::Signal;
use crate::classifier::{Classification, Step};
use crate::scoring::Goal;

/// What is under way.
#[derive(Debug)]
pub(super) struct Typing {
    text: String,
    goal: Goal,
    thresholds: Vec<f32>,
    /// Of the stages before the one that is asked now.
    readings: Vec<StageReading>,
    /// Milliseconds that the stage has worked so far.
    ms: f64,
    /// Since when a device is waited for, which counts too.
    waiting: Option<Instant>,
}

/// How far a message has come.
#[derive(Debug, Clone, PartialEq)]
pub enum TypingStep {
    /// There is more to do.
    Running,
    /// There is more to do when the signal says so.
    Waiting(Signal),
    /// All that can be done before the message is scored is done; or nothing is under way.
    Held,
    /// The result, whose time is that of the steps.
    Done(Box<Classification>),
}

impl Cascade {
    /// Begins a message, from where the stages hold its beginning; ends what was under way. With [`Goal::Hold`] a stage
    /// that can hold a message's keys and values does so, and one that can't is asked at once, so that the result comes
    /// without being asked for where that stage is sure.
    ///
    /// # Errors
    /// `empty_message`, `invalid_argument`; nothing is under way then.
    pub fn begin(&mut self, text: &str, goal: Goal, thresholds: &[f32]) -> Result<TypingStep> {
        self.typing = None;
        let thresholds = self.thresholds(thresholds)?;
        let typing =
            Typing { text: text.to_owned(), goal, thresholds, readings: Vec::new(), ms: 0.0, waiting: None };
        self.ask(typing)
    }

    /// Does the next step, some milliseconds of work.
    ///
    /// # Errors
    /// None but those of [`begin`](Self::begin), which has let the message pass.
    pub fn advance(&mut self) -> Result<TypingStep> {
        let Some(mut typing) = self.typing.take() else { return Ok(TypingStep::Held) };
        let start = typing.waiting.take().unwrap_or_else(Instant::now);
        let step = self.stage_mut(typing.readings.len()).advance();
        typing.ms += milliseconds(start);
        self.take_step(typing, step)
    }

    /// What the last step waits for, where it does.
    #[must_use]
    pub fn waiting(&self) -> Option<Signal> {
        self.waiting.clone()
    }

    /// Ends what is under way; every stage forgets all messages.
    pub fn forget(&mut self) {
        self.typing = None;
        for index in 0..self.depth() {
            self.stage_mut(index).forget();
        }
    }

    /// Asks the next stage.
    fn ask(&mut self, mut typing: Typing) -> Result<TypingStep> {
        let start = Instant::now();
        let index = typing.readings.len();
        // Only the last stage is large enough to be worth holding anything for.
        let goal = if index == self.before.len() { typing.goal } else { typing.goal.of_earlier_stage() };
        let step = self.stage_mut(index).begin(&typing.text, goal)?;
        typing.ms = milliseconds(start);
        self.take_step(typing, step)
    }

    fn take_step(&mut self, mut typing: Typing, step: Step) -> Result<TypingStep> {
        match step {
            Step::Running => {
                self.typing = Some(typing);
                Ok(TypingStep::Running)
            }
            Step::Waiting(signal) => {
                typing.waiting = Some(Instant::now());
                self.waiting = Some(signal.clone());
                self.typing = Some(typing);
                Ok(TypingStep::Waiting(signal))
            }
            Step::Held => Ok(TypingStep::Held),
            Step::Read(reading) => {
                let index = typing.readings.len();
                let threshold = typing.thresholds[index];
                let answer = self.stage(index).conclude(&reading, threshold);
                typing.readings.push(StageReading { reading, ms: typing.ms });
                if index < self.before.len() && !is_final(&answer, threshold) {
                    return self.ask(typing);
                }
                let mut result = self.conclude(&typing.readings, &typing.thresholds);
                result.ms = typing.readings.iter().map(|reading| reading.ms).sum();
                Ok(TypingStep::Done(Box::new(result)))
            }
        }
    }
}
