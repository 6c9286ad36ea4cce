//! The loop: epochs, steps, checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::average::{Average, Averaging};
use super::checkpoint::{Checkpoint, State};
use super::log::Log;
use super::optimizer::{AdamW, Optimizer};
use super::parameters::{Parameters, Weights};
use super::schedule::{Decay, Schedule};
use crate::{IntentError, Result};

/// File of the checkpoint in the output folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// File of the log in the output folder.
pub const LOG: &str = "training.jsonl";

/// Removes `files` of an earlier run, which `manifest` or a checkpoint tells of, so that what is there is never half one
/// run and half another; its log is truncated by the next. What says that a run is finished goes first.
///
/// # Errors
/// `io` naming the file.
pub(super) fn clear(folder: &Path, manifest: &str, files: &[&str]) -> Result<()> {
    if ![manifest, CHECKPOINT].iter().any(|mark| folder.join(mark).exists()) {
        return Ok(());
    }
    for file in [manifest, CHECKPOINT].iter().chain(files) {
        let path = folder.join(file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IntentError::io(path.display(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A position in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step in the epoch, from 0.
    pub step: usize,
    /// Step in the run, from 0.
    pub steps: usize,
}

/// What a step came to.
pub struct Step {
    /// The loss that was minimised.
    pub loss: f64,
    /// Its parts, for the log.
    pub parts: Vec<(&'static str, f64)>,
    /// One a parameter, in their order.
    pub gradients: Vec<Option<Tensor>>,
}

/// What is trained, on what: the part of training that differs from model to model. All of it must be a function of
/// the seed and the position, so that a run can be continued.
pub trait Task {
    /// Steps of an epoch.
    fn steps(&self) -> usize;

    /// Loss and gradients at the parameters' present values.
    ///
    /// # Errors
    /// `training`.
    fn step(&mut self, parameters: &Parameters, position: Position) -> Result<Step>;

    /// Figures of weights in or at the end of an epoch (from 0), an object; numbers of at most six decimals, which
    /// survive a checkpoint.
    ///
    /// # Errors
    /// `training`.
    fn evaluate(&mut self, weights: &Weights, epoch: usize) -> Result<Value>;

    /// Whether figures are better than others.
    fn better(&self, figures: &Value, than: &Value) -> bool;
}

/// How a run goes, the same for every kind of model.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Epochs.
    pub epochs: usize,
    /// The optimiser's.
    pub optimizer: AdamW,
    /// Share of the steps that is warm-up.
    pub warmup: f64,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Averaging of weights.
    pub averaging: Averaging,
    /// Keep the weights with the best figures rather than the last ones.
    pub keep_best: bool,
    /// Steps between figures within an epoch; 0 for none but at the ends of epochs.
    pub evaluate_every: usize,
    /// Stop when the best figures are so many evaluations old; 0 for never. Needs `keep_best`.
    pub patience: usize,
    /// Steps between checkpoints; there is one at the end of each epoch anyway.
    pub checkpoint_every: usize,
    /// What the run is made of: a checkpoint of another one is refused.
    pub run: Value,
}

/// What is going on.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run starts, or goes on, at a step of so many.
    Start {
        /// Steps taken before.
        steps: usize,
        /// Steps of the run.
        of: usize,
    },
    /// A step was taken.
    Step {
        /// Steps taken.
        steps: usize,
        /// Its loss.
        loss: f64,
    },
    /// An epoch is finished, or so many steps of one are taken.
    Epoch {
        /// Its figures.
        figures: &'a Value,
    },
}

/// How a run ended.
pub struct Outcome {
    /// The weights to keep.
    pub weights: Weights,
    /// Figures of each epoch, and of the evaluations within it.
    pub epochs: Vec<Value>,
    /// Which of them (from 1) the weights are of.
    pub kept: usize,
}

/// A run under way.
pub struct Run<'a, T: Task> {
    task: &'a mut T,
    parameters: &'a Parameters,
    settings: Settings,
    schedule: Schedule,
    optimizer: Optimizer,
    average: Average,
    best: Option<Weights>,
    state: State,
    log: Log,
    checkpoint: PathBuf,
}

impl<'a, T: Task> Run<'a, T> {
    /// Starts a run in `folder`, or continues the one whose checkpoint is there.
    ///
    /// # Errors
    /// `io`; `invalid_argument` where the checkpoint is of another run.
    pub fn open(
        task: &'a mut T,
        parameters: &'a Parameters,
        settings: Settings,
        folder: &Path,
        resume: bool,
    ) -> Result<Self> {
        let schedule = Schedule::new(settings.epochs * task.steps(), settings.warmup, settings.decay);
        let optimizer = Optimizer::new(settings.optimizer.clone(), parameters)?;
        let checkpoint = folder.join(CHECKPOINT);
        let device =
            parameters.iter().next().map_or(Device::Cpu, |parameter| parameter.value.device().clone());
        let read = if resume { Some(Checkpoint::read(&checkpoint, &device)?) } else { None };
        let state = match &read {
            Some(read) => same_run(&read.state, &settings.run)?,
            None => fresh(&settings.run),
        };
        let log = Log::open(&folder.join(LOG), state.log)?;
        let average = Average::new(settings.averaging);
        let mut run = Self {
            task,
            parameters,
            settings,
            schedule,
            optimizer,
            average,
            best: None,
            state,
            log,
            checkpoint,
        };
        if let Some(read) = read {
            run.restore(read)?;
        }
        Ok(run)
    }

    fn restore(&mut self, mut read: Checkpoint) -> Result<()> {
        let file = CHECKPOINT;
        let mut take = |kind: &str| read.tensors.remove(kind).unwrap_or_default();
        self.parameters.set(&take("weights"), file)?;
        self.optimizer.restore(self.parameters, &take("moments"), self.state.steps, file)?;
        self.average = Average::restored(self.settings.averaging, take("average"), self.state.averaged);
        self.best = self.state.best.map(|_| take("best"));
        Ok(())
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Those of the task, and `io`.
    pub fn finish(mut self, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<Outcome> {
        observe(Event::Start { steps: self.state.steps, of: self.schedule.steps })?;
        while self.state.epoch < self.settings.epochs && !self.is_over() {
            self.epoch(observe)?;
        }
        let last = self.state.epochs.len();
        let (weights, kept) = match (self.best.take(), self.state.best) {
            (Some(best), Some(index)) if self.settings.keep_best => (best, index + 1),
            _ => (self.candidate().clone_weights()?, last),
        };
        Ok(Outcome { weights, epochs: self.state.epochs, kept })
    }

    /// Whether waiting for better figures has taken too long.
    fn is_over(&self) -> bool {
        let since = |best: usize| self.state.epochs.len().saturating_sub(best + 1);
        self.settings.patience > 0
            && self.state.best.is_some_and(|best| since(best) >= self.settings.patience)
    }

    /// The weights that would be kept if the run ended now.
    fn candidate(&self) -> Candidate<'_> {
        self.average.weights().map_or(Candidate::Parameters(self.parameters), Candidate::Average)
    }

    fn epoch(&mut self, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let steps = self.task.steps();
        while self.state.step < steps {
            self.step(observe)?;
            let due = |every: usize, steps: usize| every > 0 && steps.is_multiple_of(every);
            if self.state.step == steps {
                break;
            }
            let look = due(self.settings.evaluate_every, self.state.step);
            if look {
                self.evaluate(observe)?;
            }
            if look || due(self.settings.checkpoint_every.max(1), self.state.steps) {
                self.save()?;
            }
            if self.is_over() {
                return Ok(());
            }
        }
        self.average.after_epoch(self.parameters, self.state.epoch, self.settings.epochs)?;
        self.evaluate(observe)?;
        self.state.epoch += 1;
        self.state.step = 0;
        self.save()
    }

    /// Takes figures, and the weights if they are the best so far.
    fn evaluate(&mut self, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let weights = self.candidate().weights();
        let started = Instant::now();
        let mut figures = self.task.evaluate(&weights, self.state.epoch)?;
        if let Some(object) = figures.as_object_mut() {
            let every = self.settings.evaluate_every;
            let since = self
                .state
                .step
                .checked_rem(every)
                .map_or(self.state.step, |rest| if rest == 0 { every } else { rest });
            #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
            let mean = f64::from_bits(self.state.loss_bits) / since.max(1) as f64;
            object.insert("epoch".to_owned(), json!(self.state.epoch + 1));
            if every > 0 {
                object.insert("steps".to_owned(), json!(self.state.steps));
            }
            object.insert("loss".to_owned(), json!(rounded(mean)));
        }
        self.state.loss_bits = 0;
        let mut line = figures.clone();
        if let Some(object) = line.as_object_mut() {
            object.insert("evaluation_seconds".to_owned(), json!(rounded(started.elapsed().as_secs_f64())));
        }
        self.log.line(&line)?;
        observe(Event::Epoch { figures: &figures })?;
        let best = self.state.best.and_then(|best| self.state.epochs.get(best));
        if self.settings.keep_best && best.is_none_or(|best| self.task.better(&figures, best)) {
            self.best = Some(self.candidate().clone_weights()?);
            self.state.best = Some(self.state.epochs.len());
        }
        self.state.epochs.push(figures);
        Ok(())
    }

    fn step(&mut self, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let started = Instant::now();
        let State { epoch, step, steps, .. } = self.state;
        let result = self.task.step(self.parameters, Position { epoch, step, steps })?;
        let factor = self.schedule.factor(steps);
        let norm = self.optimizer.step(self.parameters, &result.gradients, factor)?;
        self.average.after_step(self.parameters)?;
        self.state.step += 1;
        self.state.steps += 1;
        self.state.loss_bits = (f64::from_bits(self.state.loss_bits) + result.loss).to_bits();
        let mut line = json!({"step": self.state.steps, "loss": rounded(result.loss)});
        if let Some(object) = line.as_object_mut() {
            for (name, value) in &result.parts {
                object.insert((*name).to_owned(), json!(rounded(*value)));
            }
            object.insert("rate_factor".to_owned(), json!(rounded(factor)));
            object.insert("gradient_norm".to_owned(), json!(rounded(norm)));
            object.insert("seconds".to_owned(), json!(rounded(started.elapsed().as_secs_f64())));
        }
        self.log.line(&line)?;
        observe(Event::Step { steps: self.state.steps, loss: result.loss })?;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.state.log = self.log.length()?;
        self.state.averaged = self.average.count();
        let mut tensors = BTreeMap::from([
            ("weights".to_owned(), self.parameters.weights()),
            ("moments".to_owned(), self.optimizer.moments(self.parameters)),
        ]);
        let others = [("average", self.average.weights()), ("best", self.best.as_ref())];
        for (kind, weights) in others {
            if let Some(weights) = weights {
                tensors.insert(kind.to_owned(), weights.clone());
            }
        }
        Checkpoint { state: self.state.clone(), tensors }.write(&self.checkpoint)
    }
}

enum Candidate<'a> {
    Parameters(&'a Parameters),
    Average(&'a Weights),
}

impl Candidate<'_> {
    fn weights(&self) -> Weights {
        match self {
            Self::Parameters(parameters) => parameters.weights(),
            Self::Average(weights) => (*weights).clone(),
        }
    }

    /// Copies that later steps do not change.
    fn clone_weights(&self) -> Result<Weights> {
        let copy =
            |(name, tensor): (String, Tensor)| Ok((name, tensor.detach().copy().map_err(super::failed)?));
        self.weights().into_iter().map(copy).collect()
    }
}

fn fresh(run: &Value) -> State {
    State {
        run: run.to_string(),
        epoch: 0,
        step: 0,
        steps: 0,
        loss_bits: 0,
        averaged: 0,
        epochs: Vec::new(),
        best: None,
        log: 0,
    }
}

/// The state, if it is of this run.
fn same_run(state: &State, run: &Value) -> Result<State> {
    // As text, since a number may change its last bit when it is read.
    let ours = run.to_string();
    if state.run == ours {
        return Ok(state.clone());
    }
    let theirs: Value = serde_json::from_str(&state.run)
        .map_err(|error| IntentError::config(CHECKPOINT, format!("run: {error}")))?;
    let mut differences = Vec::new();
    differ("", &theirs, run, &mut differences);
    Err(IntentError::argument(
        "--resume",
        format!("the checkpoint is of another run: {}", differences.join(", ")),
    ))
}

/// Names the leaves in which two values differ.
fn differ(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differ(&path, a, b, found);
            }
        }
        _ => {
            let (theirs, ours) = (theirs.to_string(), ours.to_string());
            if theirs != ours {
                found.push(format!("{path} is {theirs} there and {ours} here"));
            }
        }
    }
}

/// Six decimals: enough to read, few enough to survive being written and read again.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.is_finite() { rounded } else { f64::MAX }
}
