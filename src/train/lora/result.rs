//! What a finished run writes.

use std::path::Path;

use serde_json::json;

use super::examples::{Example, Examples};
use super::task::{self, Lora};
use super::{Base, Hyperparameters, Start, adapter, weights};
use crate::adapter::{
    Adapter, AdapterConfig, BaseModel, CONFIG, Digests, INTENT, Intent, Precision, TENSORS,
};
use crate::eval::temperature::fit_temperature;
use crate::fetch::known;
use crate::loader::golden_of_adapter;
use crate::pack::{Golden, IntentConfig};
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

/// A finished run.
pub(super) struct Finished<'a> {
    pub(super) base: &'a Base,
    pub(super) data: &'a Data,
    pub(super) config: &'a IntentConfig,
    pub(super) config_from: &'a [(&'static str, String)],
    pub(super) start: Option<&'a Start<'a>>,
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

    /// Answers of the stored paths beside the base as it is stored, as the engine gives them; by the arithmetic of training
    /// where the base is no file that the engine reads.
    fn golden(&self, stored: &Weights, read: &Adapter, config: &IntentConfig) -> Result<Golden> {
        if let Some(file) = &self.base.file {
            return golden_of_adapter(file, config, &TEXTS, |_| Ok(read.clone()));
        }
        let example = |text: &&str| {
            let tokens = task::tokens(&self.base.tokenizer, self.examples, text)?;
            Ok(Example { tokens, wanted: Vec::new() })
        };
        let examples = TEXTS.iter().map(example).collect::<Result<Vec<_>>>()?;
        let examples: Vec<&Example> = examples.iter().collect();
        let scores = task::scores(self.network, self.examples, stored, &examples)?;
        let answers: Vec<Vec<f32>> = scores.into_iter().map(|scores| scores.log_probabilities).collect();
        let golden = Golden::measured(&TEXTS, &answers, &answers);
        // The engine was not asked.
        Ok(Golden { tolerance: golden.tolerance_other_order.unwrap_or(golden.tolerance), ..golden })
    }

    fn training(&self, out: &Path, unfitted: Option<IntentError>) -> Result<serde_json::Value> {
        let out =
            out.file_name().map_or_else(|| "lora".to_owned(), |name| name.to_string_lossy().into_owned());
        let base = self.base.argument();
        let mut named = vec![("base", base.as_str()), ("out", out.as_str())];
        named.extend(self.start.map(|start| ("adapter", start.name.as_str())));
        named.extend(self.config_from.iter().map(|(option, file)| (*option, file.as_str())));
        let mut training = json!({
            "command": command::spelt_out("relayops-intent train lora", &named, self.hyper)?,
            "seed": self.hyper.seed,
            "threads": rayon::current_num_threads(),
            "data": self.data.account,
            "hyperparameters": self.hyper,
            "parameters": self.parameters,
            "temperature_not_fitted": unfitted.map(|error| error.to_string()),
            "kept": self.outcome.kept,
            "figures": self.outcome.epochs,
        });
        if let (Some(start), Some(training)) = (self.start, training.as_object_mut()) {
            training.insert("adapter".to_owned(), start.account());
        }
        Ok(training)
    }
}
