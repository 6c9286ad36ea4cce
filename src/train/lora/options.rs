//! The hyperparameters of `train lora`.

use clap::ValueEnum;
use serde::Serialize;

use crate::adapter::Projection;
use crate::train::optimizer::AdamW;
use crate::train::qwen2::Products;
use crate::train::schedule::Decay;
use crate::{IntentError, Result};

/// Everything that decides what comes out of a run, beside base and prompt. Each is an option of the command.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
pub struct Hyperparameters {
    /// Train on data/extra.jsonl too, as far as it shares no idea with validation and test.
    #[arg(long, help_heading = "Data")]
    pub extra: bool,
    /// Further messages drawn from each family of the train split, at most.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub templates: usize,
    /// Share of messages that an epoch sees with typos, shorthand, other case or without punctuation.
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Data")]
    pub noise: f64,
    /// Train on so many messages, drawn by the seed; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub limit: usize,

    /// Rank of the low-rank paths.
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Adapter")]
    pub rank: usize,
    /// The paths are scaled by alpha / rank.
    #[arg(long, value_name = "X", default_value_t = 16.0, help_heading = "Adapter")]
    pub alpha: f64,
    /// Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023).
    #[arg(long, help_heading = "Adapter")]
    pub rslora: bool,
    /// Dropout of what the paths see.
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Adapter")]
    pub dropout: f64,
    /// Matrices that have a path.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_values_t = Projection::ALL,
        help_heading = "Adapter"
    )]
    pub targets: Vec<Projection>,
    /// Only so many layers have paths, the last ones; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Adapter")]
    pub top_layers: usize,

    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 13, help_heading = "Run")]
    pub seed: u64,
    /// Times that every message is seen.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run")]
    pub epochs: usize,
    /// Messages of a step.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Run")]
    pub batch: usize,
    /// Messages of a pass; a step adds the gradients of as many passes as it needs. 0 for all of the step's.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub pass: usize,
    /// How products with the frozen matrices are computed on the CPU; the faster one on this machine where absent.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Products::fastest(), help_heading = "Run")]
    pub products: Products,
    /// Steps between looks at validation and dev's first half; 0 for the ends of epochs alone.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub evaluate_every: usize,
    /// Which figures' weights are kept; the best are those with the highest accuracy on dev's first half, the lower loss
    /// among equals.
    #[arg(long, value_name = "WHICH", default_value = "best", help_heading = "Run")]
    pub keep: Keep,
    /// Stop when the best figures are so many looks old; 0 for never.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub patience: usize,

    /// Share of a target's probability that is spread over all labels.
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Optimiser")]
    pub label_smoothing: f64,
    /// Learning rate.
    #[arg(long, value_name = "X", default_value_t = 3e-4, help_heading = "Optimiser")]
    pub rate: f64,
    /// Share of the steps in which the learning rate rises.
    #[arg(long, value_name = "X", default_value_t = 0.05, help_heading = "Optimiser")]
    pub warmup: f64,
    /// How the learning rate falls then.
    #[arg(long, value_name = "HOW", default_value = "cosine", help_heading = "Optimiser")]
    pub decay: Decay,
    #[command(flatten, next_help_heading = "Optimiser")]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "clap would take a description for the command's")]
    pub optimizer: AdamW,
}

/// Which weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The last ones.
    Last,
    /// Those with the best figures on dev's first half.
    Best,
}

impl Hyperparameters {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// `invalid_argument` naming the option.
    pub fn check(&self) -> Result<()> {
        let shares = [
            ("--noise", self.noise, true),
            ("--warmup", self.warmup, true),
            ("--label-smoothing", self.label_smoothing, false),
            ("--dropout", self.dropout, false),
        ];
        for (option, value, one) in shares {
            if !((0.0..1.0).contains(&value) || (one && value == 1.0)) {
                let range = if one { "0..=1" } else { "0..1" };
                return Err(IntentError::argument(option, format!("{value} is not in {range}")));
            }
        }
        for (option, value) in [("--alpha", self.alpha), ("--rate", self.rate)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(IntentError::argument(option, format!("{value} is not above 0")));
            }
        }
        for (option, value) in [("--rank", self.rank), ("--epochs", self.epochs), ("--batch", self.batch)] {
            if value == 0 {
                return Err(IntentError::argument(option, "is 0"));
            }
        }
        for (number, target) in self.targets.iter().enumerate() {
            if self.targets[..number].contains(target) {
                return Err(IntentError::argument("--targets", format!("{target} stands twice")));
            }
        }
        if self.patience > 0 && self.keep != Keep::Best {
            return Err(IntentError::argument("--patience", "needs --keep best"));
        }
        self.optimizer.check()
    }

    /// Factor of the paths.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rank")]
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }
}
