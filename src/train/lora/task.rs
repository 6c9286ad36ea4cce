//! The steps of `train lora`.

use candle_core::Tensor;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::examples::{Example, Examples, Parted};
use super::options::Hyperparameters;
use crate::IntentError;
use crate::Result;
use crate::dataset::Augmenter;
use crate::dataset::random::Random;
use crate::eval::metrics::classification::Confusion;
use crate::eval::temperature::negative_log_likelihood;
use crate::message::Message;
use crate::scoring::{Scores, argmax};
use crate::tokenizer::Tokenizer;
use crate::train::data::{Data, Sample};
use crate::train::noise::noisy;
use crate::train::qwen2::{Keep, Network, Noise};
use crate::train::{Parameters, Position, Step, Task, Weights, failed, rounded};

/// Messages of a batch that is only looked at.
const LOOK: usize = 16;

/// Training of low-rank paths.
pub(super) struct Lora<'a> {
    network: &'a Network,
    examples: &'a Examples,
    hyper: &'a Hyperparameters,
    /// For each epoch all messages, as it sees them.
    epochs: Vec<Vec<Example>>,
    validation: Vec<(Example, usize)>,
    choose: Vec<(Example, usize)>,
    temperature: Vec<(Example, usize)>,
    labels: usize,
    checkpointing: bool,
    /// The order of an epoch.
    order: (Option<usize>, Vec<usize>),
}

/// What a pass came to.
struct Pass {
    /// Sum over its messages.
    loss: f64,
    /// Rows of the batch: tokens and nodes.
    rows: usize,
    gradients: Weights,
}

/// What a [`Lora`] is made of.
pub(super) struct Parts<'a> {
    pub(super) network: &'a Network,
    pub(super) examples: &'a Examples,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) data: &'a Data,
    pub(super) hyper: &'a Hyperparameters,
    pub(super) checkpointing: bool,
}

impl<'a> Lora<'a> {
    /// Tokenizes everything that the run will see.
    pub(super) fn new(parts: &Parts<'a>) -> Result<Self> {
        let Parts { network, examples, tokenizer, data, hyper, checkpointing } = *parts;
        let augmenter = Augmenter::new(&data.splits)?;
        let labels = data.labels.len();
        let encode = |sample: &Sample, smoothing: f64| {
            let tokens = tokens(tokenizer, examples, &sample.text)?;
            Ok(Example { tokens, wanted: wanted(labels, sample.label, smoothing) })
        };
        let looked = |samples: &[Sample]| {
            samples.par_iter().map(|s| Ok((encode(s, 0.0)?, s.label))).collect::<Result<Vec<_>>>()
        };
        let chosen = limited(&data.train, hyper);
        let epoch = |epoch: usize| {
            let stream = format!("train/{}/noise/{epoch}", hyper.seed);
            let seen = noisy(&augmenter, &chosen, hyper.noise, &stream);
            seen.par_iter().map(|sample| encode(sample, hyper.label_smoothing)).collect()
        };
        Ok(Self {
            network,
            examples,
            hyper,
            epochs: (0..hyper.epochs).map(epoch).collect::<Result<_>>()?,
            validation: looked(&data.validation)?,
            choose: looked(&data.choose)?,
            temperature: looked(&data.temperature)?,
            labels,
            checkpointing,
            order: (None, Vec::new()),
        })
    }

    /// Numbers of the messages of a step.
    fn members(&mut self, position: Position) -> Vec<usize> {
        if self.order.0 != Some(position.epoch) {
            let stream = format!("train/{}/order/{}", self.hyper.seed, position.epoch);
            let count = self.epochs.get(position.epoch).map_or(0, Vec::len);
            self.order = (Some(position.epoch), Random::named(&stream).order(count));
        }
        self.order.1.iter().skip(position.step * self.hyper.batch).take(self.hyper.batch).copied().collect()
    }

    /// A pass over `members`; the gradients are of `factor` times its loss.
    fn pass(
        &self,
        weights: &Weights,
        members: &[&Example],
        factor: f64,
        noise: Noise,
    ) -> candle_core::Result<Pass> {
        let keep = if self.checkpointing { Keep::Operands } else { Keep::Everything };
        let matters = |Parted { example, parting }: Parted| self.examples.matters(members[example], parting);
        let (batch, parted) = self.examples.batch(members, matters);
        let (hidden, trace) = self.network.forward(weights, &batch, noise, keep)?;
        let loss = self.examples.loss(&hidden, &parted, members, factor)?;
        let gradients = self.network.backward(weights, &batch, noise, trace, &loss.gradient)?;
        Ok(Pass { loss: loss.sum, rows: batch.tokens.len(), gradients })
    }

    /// Log-probabilities of messages.
    fn scores(&self, weights: &Weights, messages: &[(Example, usize)]) -> Result<Vec<Scores>> {
        let examples: Vec<&Example> = messages.iter().map(|(example, _)| example).collect();
        scores(self.network, self.examples, weights, &examples)
    }

    fn figures(&self, weights: &Weights, messages: &[(Example, usize)]) -> Result<Value> {
        let scores = self.scores(weights, messages)?;
        let pairs: Vec<(&Scores, usize)> =
            scores.iter().zip(messages).map(|(scores, (_, gold))| (scores, *gold)).collect();
        let answers = pairs.iter().map(|(scores, gold)| (*gold, Some(argmax(&scores.log_probabilities))));
        let confusion = Confusion::new(self.labels, answers);
        Ok(json!({
            "n": messages.len(),
            "accuracy": rounded(confusion.accuracy()),
            "macro_f1": rounded(confusion.macro_f1()),
            "nll": rounded(negative_log_likelihood(&pairs, 1.0)),
        }))
    }

    /// Scores and true labels of the messages that the temperature is fitted on.
    pub(super) fn temperature_scores(&self, weights: &Weights) -> Result<Vec<(Scores, usize)>> {
        let scores = self.scores(weights, &self.temperature)?;
        Ok(scores.into_iter().zip(self.temperature.iter().map(|(_, gold)| *gold)).collect())
    }
}

/// Log-probabilities of the labels of messages.
pub(super) fn scores(
    network: &Network,
    examples: &Examples,
    weights: &Weights,
    messages: &[&Example],
) -> Result<Vec<Scores>> {
    let mut all = Vec::new();
    for chunk in messages.chunks(LOOK) {
        all.extend(pass(network, examples, weights, chunk)?);
    }
    Ok(all)
}

/// Log-probabilities of the labels of messages, in one pass.
pub(super) fn pass(
    network: &Network,
    examples: &Examples,
    weights: &Weights,
    messages: &[&Example],
) -> Result<Vec<Scores>> {
    let (batch, parted) = examples.batch(messages, |_| true);
    let scores = network
        .forward(weights, &batch, Noise::OFF, Keep::Nothing)
        .and_then(|(hidden, _)| examples.scores(&hidden, &parted, messages.len()));
    scores.map_err(failed)
}

/// Tokens of a message, as the engine would take them.
pub(super) fn tokens(
    tokenizer: &Tokenizer,
    examples: &Examples,
    text: &str,
) -> Result<Vec<crate::model::TokenId>> {
    let Message::Text(text) = Message::new(text)? else {
        return Err(IntentError::argument("text", "is longer than any message that is classified"));
    };
    let tokens = tokenizer.encode(&text)?;
    examples.check(&tokens)?;
    Ok(tokens)
}

/// The distribution that a message of `label` should get: the share `smoothing` is spread over all labels.
fn wanted(labels: usize, label: usize, smoothing: f64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a few labels")]
    let each = smoothing / labels as f64;
    (0..labels).map(|other| each + if other == label { 1.0 - smoothing } else { 0.0 }).collect()
}

/// The messages that are trained on.
fn limited(samples: &[Sample], hyper: &Hyperparameters) -> Vec<Sample> {
    if hyper.limit == 0 || hyper.limit >= samples.len() {
        return samples.to_vec();
    }
    let order = Random::named(&format!("train/{}/limit", hyper.seed)).order(samples.len());
    order.into_iter().take(hyper.limit).map(|number| samples[number].clone()).collect()
}

/// Adds to gradients by name.
fn accumulate(sum: &mut Weights, more: Weights) -> candle_core::Result<()> {
    for (name, gradient) in more {
        let total = match sum.remove(&name) {
            Some(former) => (former + gradient)?,
            None => gradient,
        };
        sum.insert(name, total);
    }
    Ok(())
}

impl Task for Lora<'_> {
    fn steps(&self) -> usize {
        self.epochs.first().map_or(0, |messages| messages.len().div_ceil(self.hyper.batch))
    }

    fn step(&mut self, parameters: &Parameters, position: Position) -> Result<Step> {
        let members = self.members(position);
        let messages = self.epochs.get(position.epoch).map(Vec::as_slice).unwrap_or_default();
        let chosen: Vec<&Example> = members.iter().filter_map(|member| messages.get(*member)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a batch's size")]
        let factor = 1.0 / chosen.len().max(1) as f64;
        let weights = parameters.weights();
        let (mut loss, mut rows, mut gradients) = (0.0, 0, Weights::new());
        let size = if self.hyper.pass == 0 { self.hyper.batch } else { self.hyper.pass };
        for (number, members) in chosen.chunks(size).enumerate() {
            let stream = format!("train/{}/dropout/{}/{number}", self.hyper.seed, position.steps);
            #[expect(clippy::cast_possible_truncation, reason = "a rate")]
            let noise = Noise {
                rate: self.hyper.dropout as f32,
                seed: Random::named(&stream).below(usize::MAX) as u64,
            };
            let pass = self.pass(&weights, members, factor, noise).map_err(failed)?;
            let (sum, more) = (pass.loss, pass.gradients);
            loss += factor * sum;
            rows += pass.rows;
            accumulate(&mut gradients, more).map_err(failed)?;
        }
        let gradients: Vec<Option<Tensor>> =
            parameters.iter().map(|parameter| gradients.remove(&parameter.name)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
        Ok(Step { loss, parts: vec![("rows", rows as f64)], gradients })
    }

    fn evaluate(&mut self, weights: &Weights, _epoch: usize) -> Result<Value> {
        Ok(json!({
            "validation": self.figures(weights, &self.validation)?,
            "dev_choose": self.figures(weights, &self.choose)?,
        }))
    }

    fn better(&self, figures: &Value, than: &Value) -> bool {
        let read = |figures: &Value, name: &str| figures["dev_choose"][name].as_f64().unwrap_or(f64::NAN);
        let accuracy = read(figures, "accuracy").total_cmp(&read(than, "accuracy"));
        accuracy.then(read(than, "nll").total_cmp(&read(figures, "nll"))).is_gt()
    }
}
