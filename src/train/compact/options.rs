//! The hyperparameters of `train compact`.

use candle_core::quantized::GgmlDType;
use clap::ValueEnum;
use serde::Serialize;

use crate::train::average::Averaging;
use crate::train::optimizer::AdamW;
use crate::train::schedule::Decay;
use crate::{IntentError, Result};

/// Everything that decides what comes out of a run, beside the base. Each is an option of the command.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
pub struct Hyperparameters {
    /// Train on data/extra.jsonl too, as far as it shares no idea with validation and test.
    #[arg(long, help_heading = "Data")]
    pub extra: bool,
    /// Further messages drawn from each family of the train split, at most.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub templates: usize,
    /// Share of messages that an epoch sees with typos, shorthand, other case or without punctuation.
    #[arg(long, value_name = "P", default_value_t = 0.3, help_heading = "Data")]
    pub noise: f64,
    /// Longest message in tokens; what is beyond is cut off.
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Data")]
    pub max_tokens: usize,

    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 13, help_heading = "Run")]
    pub seed: u64,
    /// Times that every message is seen.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Run")]
    pub epochs: usize,
    /// Messages of a step.
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Run")]
    pub batch: usize,
    /// Which epoch's weights are kept; the best is the one with the highest accuracy on dev's first half, the lower
    /// loss among equals.
    #[arg(long, value_name = "WHICH", default_value = "last", help_heading = "Run")]
    pub keep: Keep,

    /// Share of a target's probability that is spread over all labels.
    #[arg(long, value_name = "X", default_value_t = 0.05, help_heading = "Loss")]
    pub label_smoothing: f64,
    /// Weight of the supervised contrastive term on the pooled embedding; 0 for none.
    #[arg(long, value_name = "X", default_value_t = 0.3, help_heading = "Loss")]
    pub contrastive: f64,
    /// Temperature of the contrastive term.
    #[arg(long, value_name = "X", default_value_t = 0.1, help_heading = "Loss")]
    pub contrastive_temperature: f64,
    /// Weight of the divergence between two passes with other dropout (R-Drop); 0 for none. Doubles a step's time.
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Loss")]
    pub r_drop: f64,
    /// Length of an adversarial change of the word embedding, against which a second pass is trained (FGM); 0 for
    /// none. Doubles a step's time.
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Loss")]
    pub adversarial: f64,
    /// Weight of the divergence from the teacher's soft targets, which takes that much from the weight of the labels'
    /// cross-entropy; 0 for none.
    #[arg(long, value_name = "A", default_value_t = 0.0, help_heading = "Loss")]
    pub teacher_weight: f64,
    /// Temperature that softens both teacher and student for that divergence.
    #[arg(long, value_name = "T", default_value_t = 1.0, help_heading = "Loss")]
    pub teacher_temperature: f64,
    /// Dropout of embeddings, attention weights and sublayers' outputs.
    #[arg(long, value_name = "P", default_value_t = 0.1, help_heading = "Loss")]
    pub dropout: f64,

    /// Learning rate of the encoder.
    #[arg(long, value_name = "X", default_value_t = 1e-4, help_heading = "Optimiser")]
    pub encoder_rate: f64,
    /// Learning rate of the head.
    #[arg(long, value_name = "X", default_value_t = 5e-3, help_heading = "Optimiser")]
    pub head_rate: f64,
    /// Factor of the learning rate from a layer of the encoder to the one below, down to the embedding.
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Optimiser")]
    pub layer_decay: f64,
    /// Share of the steps in which the learning rates rise.
    #[arg(long, value_name = "X", default_value_t = 0.1, help_heading = "Optimiser")]
    pub warmup: f64,
    /// How the learning rates fall then.
    #[arg(long, value_name = "HOW", default_value = "linear", help_heading = "Optimiser")]
    pub decay: Decay,
    #[command(flatten, next_help_heading = "Optimiser")]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "clap would take a description for the command's")]
    pub optimizer: AdamW,

    /// Keep an exponential moving average of the weights, with this share of it in each step, say 0.99; 0 for none.
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Averaging and quantization")]
    pub ema: f64,
    /// Keep the mean of the weights at the ends of the last N epochs; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Averaging and quantization")]
    pub average_epochs: usize,
    /// Train against rounding to this format: matrices are rounded in each pass, the gradient goes to the exact ones.
    #[arg(long, value_name = "FORMAT", default_value = "none", help_heading = "Averaging and quantization")]
    pub qat: Qat,
    /// Epochs at the end with --qat.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Averaging and quantization")]
    pub qat_epochs: usize,
}

/// Which epoch's weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The last one's.
    Last,
    /// The best one's on dev's first half.
    Best,
}

/// Formats of quantization-aware training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Qat {
    /// Off.
    None,
    /// 4 bits and a scale for 32 weights.
    #[value(name = "q4_0")]
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 5 bits and a scale for 32 weights.
    #[value(name = "q5_0")]
    #[serde(rename = "q5_0")]
    Q5_0,
    /// 8 bits and a scale for 32 weights.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl Qat {
    /// The format.
    #[must_use]
    pub fn format(self) -> Option<GgmlDType> {
        match self {
            Self::None => None,
            Self::Q4_0 => Some(GgmlDType::Q4_0),
            Self::Q5_0 => Some(GgmlDType::Q5_0),
            Self::Q8_0 => Some(GgmlDType::Q8_0),
        }
    }
}

impl Hyperparameters {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// `invalid_argument` naming the option.
    pub fn check(&self) -> Result<()> {
        self.check_shares()?;
        self.check_weights()?;
        if self.epochs == 0 || self.batch == 0 {
            let option = if self.epochs == 0 { "--epochs" } else { "--batch" };
            return Err(IntentError::argument(option, "is 0"));
        }
        if self.ema > 0.0 && self.average_epochs > 0 {
            return Err(IntentError::argument(
                "--average-epochs",
                "there is --ema already: one average at a time",
            ));
        }
        if self.r_drop > 0.0 && self.dropout == 0.0 {
            return Err(IntentError::argument("--r-drop", "needs --dropout: both passes would be the same"));
        }
        self.optimizer.check()
    }

    /// Checks that there is a teacher where one is asked for, and nowhere else.
    ///
    /// # Errors
    /// `invalid_argument` naming the option that is missing.
    pub fn check_teacher(&self, given: bool) -> Result<()> {
        match (given, self.teacher_weight > 0.0) {
            (true, false) => {
                Err(IntentError::argument("--teacher-weight", "is 0: the teacher would say nothing"))
            }
            (false, true) => {
                Err(IntentError::argument("--teacher", "is missing: --teacher-weight is above 0"))
            }
            _ => Ok(()),
        }
    }

    /// What is a share, of some the whole included.
    fn check_shares(&self) -> Result<()> {
        for (option, value, whole) in [
            ("--noise", self.noise, true),
            ("--warmup", self.warmup, true),
            ("--teacher-weight", self.teacher_weight, true),
            ("--label-smoothing", self.label_smoothing, false),
            ("--dropout", self.dropout, false),
            ("--ema", self.ema, false),
        ] {
            if !((0.0..1.0).contains(&value) || (whole && value == 1.0)) {
                let range = if whole { "0..=1" } else { "0..1" };
                return Err(IntentError::argument(option, format!("{value} is not in {range}")));
            }
        }
        Ok(())
    }

    /// Rates and weights of terms: not negative, some not zero either.
    fn check_weights(&self) -> Result<()> {
        for (option, value, strictly) in [
            ("--contrastive-temperature", self.contrastive_temperature, true),
            ("--teacher-temperature", self.teacher_temperature, true),
            ("--encoder-rate", self.encoder_rate, false),
            ("--head-rate", self.head_rate, true),
            ("--layer-decay", self.layer_decay, true),
            ("--contrastive", self.contrastive, false),
            ("--r-drop", self.r_drop, false),
            ("--adversarial", self.adversarial, false),
        ] {
            if !(value.is_finite() && value >= 0.0 && (value > 0.0 || !strictly)) {
                let range = if strictly { "above 0" } else { "0 or above" };
                return Err(IntentError::argument(option, format!("{value} is not {range}")));
            }
        }
        Ok(())
    }

    /// The average they ask for.
    #[must_use]
    pub fn averaging(&self) -> Averaging {
        match (self.ema > 0.0, self.average_epochs) {
            (true, _) => Averaging::Exponential(self.ema),
            (false, 0) => Averaging::Off,
            (false, epochs) => Averaging::Epochs(epochs),
        }
    }
}
