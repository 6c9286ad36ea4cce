//! What a finished run writes.

use std::path::Path;

use serde_json::json;

use super::examples::{Example, Examples};
use super::task::{self, Lora};
use super::{Base, Hyperparameters, adapter, weights};
use crate::adapter::{
    Adapter, AdapterConfig, BaseModel, CONFIG, Digests, INTENT, Intent, Precision, TENSORS,
};
use crate::eval::temperature::fit_temperature;
use crate::fetch::known;
use crate::loader::Loader;
use crate::message::Message;
use crate::pack::IntentConfig;
use crate::pack::manifest::{Golden, GoldenVector};
use crate::scoring::Scores;
use crate::train::checkpoint::write_file;
use crate::train::data::Data;
use crate::train::qwen2::Network;
use crate::train::{CHECKPOINT, Outcome, Weights, command};
use crate::{IntentError, Result};

/// Messages of golden vectors: short and longer, plain and odd.
const TEXTS: [&str; 4] = [
    "hi",
    "my internet is down",
    "hw do i chnge teh wifi pswd on my rooter??",
    "caf\u{e9} hotspot \u{1f621} \u{2014} <|im_end|> #1, 5GHz: why was I charged $49.99 twice",
];

/// The golden tolerance is at least this, and [`SLACK`] times what rounding activations to 8 bits changes here.
const LEAST: f32 = 0.05;
const SLACK: f32 = 4.0;

/// Decimals of golden log-probabilities.
const DECIMALS: f32 = 1e4;

/// A finished run.
pub(super) struct Finished<'a> {
    pub(super) base: &'a Base,
    pub(super) data: &'a Data,
    pub(super) config: &'a IntentConfig,
    pub(super) hyper: &'a Hyperparameters,
    pub(super) network: &'a Network,
    pub(super) examples: &'a Examples,
    pub(super) outcome: &'a Outcome,
    pub(super) parameters: usize,
}

impl Finished<'_> {
    /// Writes everything into `out` and removes the checkpoint.
    pub(super) fn write(&self, task: &Lora, out: &Path) -> Result<Intent> {
        let bytes = adapter(self.network, &self.outcome.weights)?.to_safetensors(Precision::F16)?;
        let config = self.peft();
        let config_json = config.to_json()?;
        // What is calibrated and promised is what is stored.
        let read = Adapter::read(&config_json, &bytes, self.network.config())?;
        let stored = weights(self.network, &read)?;
        let scores = task.temperature_scores(&stored)?;
        let pairs: Vec<_> = scores.iter().map(|(scores, gold)| (scores, *gold)).collect();
        let mut calibrated = self.config.clone();
        // A run of hours is not thrown away because its last messages say nothing of confidence.
        let fitted = fit_temperature(&pairs);
        calibrated.temperature = *fitted.as_ref().unwrap_or(&1.0);
        let golden = self.golden(&stored, &read, &calibrated)?;
        let intent = Intent {
            base: self.base_model(),
            config: calibrated,
            golden,
            files: Some(Digests::of(&config_json, &bytes)),
            training: self.training(out, fitted.err())?,
            figures: serde_json::Value::Null,
        };
        write_file(&out.join(TENSORS), &bytes)?;
        write_file(&out.join(CONFIG), config_json.as_bytes())?;
        write_file(&out.join(INTENT), intent.to_json()?.as_bytes())?;
        let checkpoint = out.join(CHECKPOINT);
        std::fs::remove_file(&checkpoint).map_err(|error| IntentError::io(checkpoint.display(), error))?;
        Ok(intent)
    }

    fn peft(&self) -> AdapterConfig {
        let Hyperparameters { rank, alpha, dropout, rslora, .. } = *self.hyper;
        let paths = self.network.paths();
        let layers = (paths.first_layer > 0)
            .then(|| (paths.first_layer..self.network.config().layers).collect::<Vec<usize>>());
        AdapterConfig::uniform(
            &self.base.repository(),
            rank,
            alpha,
            dropout,
            rslora,
            &paths.projections,
            layers,
        )
    }

    fn base_model(&self) -> BaseModel {
        BaseModel {
            name: self.base.name.clone(),
            sha256: self.base.sha256.clone(),
            licence: known(&self.base.sha256).map(|_| "Apache-2.0".to_owned()),
        }
    }

    /// Answers of the stored paths without rounding, by the arithmetic of training; the tolerance comes from how far the
    /// engine is off, which runs them beside the base as it is stored.
    fn golden(&self, stored: &Weights, read: &Adapter, config: &IntentConfig) -> Result<Golden> {
        let example = |text: &&str| {
            let tokens = task::tokens(&self.base.tokenizer, self.examples, text)?;
            Ok(Example { tokens, wanted: Vec::new() })
        };
        let examples = TEXTS.iter().map(example).collect::<Result<Vec<_>>>()?;
        let examples: Vec<&Example> = examples.iter().collect();
        let scores = task::scores(self.network, self.examples, stored, &examples)?;
        let vector = |(text, scores): (&&str, Scores)| GoldenVector {
            text: (*text).to_owned(),
            log_probabilities: scores
                .log_probabilities
                .iter()
                .map(|l| (l * DECIMALS).round() / DECIMALS)
                .collect(),
        };
        let vectors: Vec<GoldenVector> = TEXTS.iter().zip(scores).map(vector).collect();
        let mut worst = 0f32;
        if let Some(file) = &self.base.file {
            let (mut scorer, _) = Loader::read_file(file, config.clone())?.finish_scorer()?;
            scorer.set_adapter(Some(read), config)?;
            for vector in &vectors {
                let Message::Text(text) = Message::new(&vector.text)? else { continue };
                let engine = scorer.score(&text, false)?.log_probabilities;
                let pairs = engine.iter().zip(&vector.log_probabilities);
                worst = pairs.fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
            }
        }
        // Rounded up to hundredths, so that a last bit does not change the file.
        let tolerance = (LEAST.max(SLACK * worst) * 100.0).ceil() / 100.0;
        Ok(Golden { tolerance, tolerance_other_order: None, vectors })
    }

    fn training(&self, out: &Path, unfitted: Option<IntentError>) -> Result<serde_json::Value> {
        let out =
            out.file_name().map_or_else(|| "lora".to_owned(), |name| name.to_string_lossy().into_owned());
        let base = self.base.argument();
        let named = [("base", base.as_str()), ("out", out.as_str())];
        Ok(json!({
            "command": command::spelt_out("relayops-intent train lora", &named, self.hyper)?,
            "seed": self.hyper.seed,
            "threads": rayon::current_num_threads(),
            "data": self.data.account,
            "hyperparameters": self.hyper,
            "parameters": self.parameters,
            "temperature_not_fitted": unfitted.map(|error| error.to_string()),
            "kept": self.outcome.kept,
            "figures": self.outcome.epochs,
        }))
    }
}
