//! The steps of `train compact`.

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::options::Hyperparameters;
use crate::dataset::Augmenter;
use crate::dataset::random::Random;
use crate::eval::metrics::classification::Confusion;
use crate::eval::temperature::negative_log_likelihood;
use crate::scoring::Scores;
use crate::train::base::Base;
use crate::train::bert::weights::WORDS;
use crate::train::bert::{Batch, Noise, Output, forward};
use crate::train::data::{Data, Sample};
use crate::train::noise::noisy;
use crate::train::ops::Sink;
use crate::train::{Parameters, Position, Step, Task, Weights, failed, loss, rounded};
use crate::{IntentError, Result};

/// Parts of a loss by name.
type Parts = Vec<(&'static str, f64)>;

/// Messages of a batch that is only looked at.
const LOOK: usize = 64;

/// A message as the encoder takes it.
struct Tokens {
    /// Rows of the trained word embedding.
    rows: Vec<u32>,
    label: usize,
}

/// What a batch should be answered with.
struct Wanted {
    labels: Vec<usize>,
    /// A teacher's log-probabilities, `[n, labels]`.
    teacher: Option<Tensor>,
}

/// Fine-tuning of an encoder with a head.
pub(super) struct Compact<'a> {
    base: &'a Base,
    hyper: &'a Hyperparameters,
    labels: usize,
    /// Ids of the vocabulary that occur, ascending: the rows that are trained.
    vocabulary: Vec<u32>,
    /// For each epoch all messages, as it sees them.
    epochs: Vec<Vec<Tokens>>,
    /// A teacher's log-probabilities of each message; one with noise is answered as without.
    soft: Option<Vec<Vec<f32>>>,
    validation: Vec<Tokens>,
    choose: Vec<Tokens>,
    temperature: Vec<Tokens>,
    /// The order of an epoch.
    order: (Option<usize>, Vec<usize>),
}

impl<'a> Compact<'a> {
    /// Tokenizes everything that the run will see. `soft` are a teacher's log-probabilities of each message of `data`
    /// that is trained on.
    pub(super) fn new(
        base: &'a Base,
        data: &Data,
        soft: Option<Vec<Vec<f32>>>,
        hyper: &'a Hyperparameters,
    ) -> Result<Self> {
        let augmenter = Augmenter::new(&data.splits)?;
        let encode =
            |sample: &Sample| base.encode(&sample.text).map(|rows| Tokens { rows, label: sample.label });
        let all = |samples: &[Sample]| samples.par_iter().map(encode).collect::<Result<Vec<_>>>();
        let mut epochs = Vec::new();
        for epoch in 0..hyper.epochs {
            let stream = format!("train/{}/noise/{epoch}", hyper.seed);
            epochs.push(all(&noisy(&augmenter, &data.train, hyper.noise, &stream))?);
        }
        let mut compact = Self {
            base,
            hyper,
            labels: data.labels.len(),
            vocabulary: Vec::new(),
            epochs,
            soft,
            validation: all(&data.validation)?,
            choose: all(&data.choose)?,
            temperature: all(&data.temperature)?,
            order: (None, Vec::new()),
        };
        compact.number_rows();
        Ok(compact)
    }

    /// Replaces ids of the vocabulary by rows of the trained embedding, which holds those that occur. The others have
    /// no gradient, so that training them would not change them.
    fn number_rows(&mut self) {
        let looks = [&mut self.validation, &mut self.choose, &mut self.temperature];
        let mut all: Vec<&mut Tokens> = self.epochs.iter_mut().chain(looks).flatten().collect();
        let mut ids: Vec<u32> = all.iter().flat_map(|tokens| tokens.rows.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        for row in all.iter_mut().flat_map(|tokens| tokens.rows.iter_mut()) {
            // Fits: there are at most as many rows as ids.
            *row = ids.binary_search(row).ok().and_then(|row| u32::try_from(row).ok()).unwrap_or_default();
        }
        self.vocabulary = ids;
    }

    pub(super) fn vocabulary(&self) -> &[u32] {
        &self.vocabulary
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

    /// What the teacher says of these messages, where there is one.
    fn teacher(&self, members: &[usize]) -> candle_core::Result<Option<Tensor>> {
        let Some(soft) = &self.soft else { return Ok(None) };
        let rows: Vec<f32> =
            members.iter().filter_map(|member| soft.get(*member)).flatten().copied().collect();
        Tensor::from_vec(rows, (members.len(), self.labels), &Device::Cpu).map(Some)
    }

    /// The tensors that a pass computes with: the parameters or, in the last epochs of quantization-aware training,
    /// their rounded values.
    fn leaves(&self, weights: &Weights, epoch: usize) -> Result<Weights> {
        let Some(format) =
            self.hyper.qat.format().filter(|_| epoch + self.hyper.qat_epochs >= self.hyper.epochs)
        else {
            return Ok(weights.clone());
        };
        let round = |(name, tensor): (&String, &Tensor)| {
            if !is_quantized(name) {
                return Ok((name.clone(), tensor.clone()));
            }
            let rounded = QTensor::quantize(&tensor.detach(), format)
                .and_then(|rounded| rounded.dequantize(tensor.device()))
                .and_then(|rounded| Var::from_tensor(&rounded));
            Ok((name.clone(), rounded.map_err(failed)?.into_inner()))
        };
        weights.par_iter().map(round).collect()
    }

    /// Loss and parts of a pass.
    fn loss(
        &self,
        leaves: &Weights,
        batch: &Batch,
        wanted: &Wanted,
        noise: Noise,
        sink: &Sink,
    ) -> candle_core::Result<(Tensor, Parts)> {
        let hyper = self.hyper;
        let Output { pooled, logits } = forward(&self.base.config, leaves, batch, noise, sink)?;
        let Wanted { labels, teacher } = wanted;
        let mut parts = Vec::new();
        let mut total = loss::cross_entropy(&logits, labels, hyper.label_smoothing)?;
        if teacher.is_some() {
            parts.push(("cross_entropy", f64::from(total.to_scalar::<f32>()?)));
            total = (total * (1.0 - hyper.teacher_weight))?;
        }
        let mut add = |name, part: Tensor, weight: f64| {
            parts.push((name, f64::from(part.to_scalar::<f32>()?)));
            total = (&total + (part * weight)?)?;
            candle_core::Result::Ok(())
        };
        if let Some(teacher) = teacher {
            let part = loss::distillation(&logits, teacher, hyper.teacher_temperature)?;
            add("teacher", part, hyper.teacher_weight)?;
        }
        if hyper.contrastive > 0.0 {
            let part = loss::contrastive(&pooled, labels, hyper.contrastive_temperature)?;
            add("contrastive", part, hyper.contrastive)?;
        }
        if hyper.r_drop > 0.0 {
            let half = labels.len() / 2;
            let part = loss::divergence(&logits.narrow(0, 0, half)?, &logits.narrow(0, half, half)?)?;
            add("divergence", part, hyper.r_drop)?;
        }
        Ok((total, parts))
    }

    /// Gradients of a pass, and of a second one against the first's gradient where that is asked for.
    fn gradients(
        &self,
        leaves: &Weights,
        batch: &Batch,
        wanted: &Wanted,
        noise: Noise,
    ) -> candle_core::Result<(f64, Parts, Weights)> {
        let backward = |leaves: &Weights| {
            let sink = Sink::default();
            let (loss, parts) = self.loss(leaves, batch, wanted, noise, &sink)?;
            let mut store = loss.backward()?;
            let mut take = |leaf: &Tensor| store.remove(leaf).or_else(|| sink.take(leaf));
            let found = leaves.iter().filter_map(|(name, leaf)| Some((name.clone(), take(leaf)?)));
            candle_core::Result::Ok((f64::from(loss.to_scalar::<f32>()?), parts, found.collect::<Weights>()))
        };
        let (value, mut parts, mut gradients) = backward(leaves)?;
        if self.hyper.adversarial > 0.0
            && let (Some(words), Some(gradient)) = (leaves.get(WORDS), gradients.get(WORDS))
        {
            let norm = f64::from(gradient.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
            let change = (gradient * (self.hyper.adversarial / norm.max(1e-12)))?;
            let mut changed = leaves.clone();
            changed.insert(WORDS.to_owned(), Var::from_tensor(&(words.detach() + change)?)?.into_inner());
            let (value, _, others) = backward(&changed)?;
            parts.push(("adversarial", value));
            for (name, other) in others {
                if let Some(own) = gradients.get_mut(&name) {
                    *own = own.add(&other)?;
                }
            }
        }
        Ok((value, parts, gradients))
    }

    /// Log-probabilities of messages.
    fn scores(&self, leaves: &Weights, messages: &[Tokens]) -> Result<Vec<Scores>> {
        let detached: Weights = leaves.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect();
        let mut all = Vec::new();
        for chunk in messages.chunks(LOOK) {
            let batch = Batch::new(chunk.iter().map(|tokens| tokens.rows.as_slice()));
            let scores = forward(&self.base.config, &detached, &batch, Noise::OFF, &Sink::default())
                .and_then(|output| loss::log_softmax(&output.logits)?.to_dtype(DType::F32)?.to_vec2::<f32>());
            for log_probabilities in scores.map_err(failed)? {
                if log_probabilities.iter().any(|value| !value.is_finite()) {
                    return Err(IntentError::Training("a score is not finite".to_owned()));
                }
                all.push(Scores { log_probabilities, token_confidence: None });
            }
        }
        Ok(all)
    }

    fn figures(&self, leaves: &Weights, messages: &[Tokens]) -> Result<Value> {
        let scores = self.scores(leaves, messages)?;
        let golds = messages.iter().map(|tokens| tokens.label);
        let pairs: Vec<(&Scores, usize)> = scores.iter().zip(golds).collect();
        let confusion =
            Confusion::new(self.labels, pairs.iter().map(|(scores, gold)| (*gold, Some(predicted(scores)))));
        Ok(json!({
            "n": messages.len(),
            "accuracy": rounded(confusion.accuracy()),
            "macro_f1": rounded(confusion.macro_f1()),
            "nll": rounded(negative_log_likelihood(&pairs, 1.0)),
        }))
    }

    /// Scores and true labels of the messages that the temperature is fitted on.
    pub(super) fn temperature_scores(&self, weights: &Weights) -> Result<Vec<(Scores, usize)>> {
        let leaves = self.leaves(weights, self.hyper.epochs.saturating_sub(1))?;
        let scores = self.scores(&leaves, &self.temperature)?;
        Ok(scores.into_iter().zip(self.temperature.iter().map(|tokens| tokens.label)).collect())
    }
}

/// Whether quantization-aware training rounds this tensor: matrices of the layers and the word embedding.
fn is_quantized(name: &str) -> bool {
    name == WORDS
        || (name.starts_with("encoder.") && name.ends_with(".weight") && !name.contains("LayerNorm"))
}

fn predicted(scores: &Scores) -> usize {
    let all = scores.log_probabilities.iter().enumerate();
    all.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map_or(0, |(label, _)| label)
}

impl Task for Compact<'_> {
    fn steps(&self) -> usize {
        self.epochs.first().map_or(0, |messages| messages.len().div_ceil(self.hyper.batch))
    }

    fn step(&mut self, parameters: &Parameters, position: Position) -> Result<Step> {
        let mut members = self.members(position);
        if self.hyper.r_drop > 0.0 {
            members.extend(members.clone());
        }
        let messages = self.epochs.get(position.epoch).map(Vec::as_slice).unwrap_or_default();
        let chosen: Vec<&Tokens> = members.iter().filter_map(|member| messages.get(*member)).collect();
        let batch = Batch::new(chosen.iter().map(|tokens| tokens.rows.as_slice()));
        let labels = chosen.iter().map(|tokens| tokens.label).collect();
        let wanted = Wanted { labels, teacher: self.teacher(&members).map_err(failed)? };
        let stream = format!("train/{}/dropout/{}", self.hyper.seed, position.steps);
        #[expect(clippy::cast_possible_truncation, reason = "a rate")]
        let noise =
            Noise { rate: self.hyper.dropout as f32, seed: Random::named(&stream).below(usize::MAX) as u64 };
        let leaves = self.leaves(&parameters.weights(), position.epoch)?;
        let (loss, parts, mut gradients) = self.gradients(&leaves, &batch, &wanted, noise).map_err(failed)?;
        let gradients = parameters.iter().map(|parameter| gradients.remove(&parameter.name)).collect();
        Ok(Step { loss, parts, gradients })
    }

    fn evaluate(&mut self, weights: &Weights, epoch: usize) -> Result<Value> {
        let leaves = self.leaves(weights, epoch)?;
        Ok(json!({
            "validation": self.figures(&leaves, &self.validation)?,
            "dev_choose": self.figures(&leaves, &self.choose)?,
        }))
    }

    fn better(&self, figures: &Value, than: &Value) -> bool {
        let read = |figures: &Value, name: &str| figures["dev_choose"][name].as_f64().unwrap_or(f64::NAN);
        let accuracy = read(figures, "accuracy").total_cmp(&read(than, "accuracy"));
        accuracy.then(read(than, "nll").total_cmp(&read(figures, "nll"))).is_gt()
    }
}
