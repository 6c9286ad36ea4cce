//! `train lora`: trains low-rank paths beside a frozen Qwen2.

mod base;
mod examples;
mod options;
mod paths;
mod result;
pub mod soften;
mod task;

use std::path::Path;

use candle_core::Device;
use serde_json::json;

use super::data::Data;
use super::qwen2::{Network, Paths};
use super::run::clear;
use super::{Event, Run, Settings};
use crate::adapter::{Adapter, AdapterFiles, CONFIG, Digests, INTENT, Intent, TENSORS};
use crate::pack::IntentConfig;
use crate::tokenizer::Tokenizer;
use crate::train::average::Averaging;
use crate::{IntentError, Result};

pub use base::{Base, resolve};
pub use examples::{Example, Examples, Loss, Parted};
pub use options::{Hyperparameters, Keep};
pub use paths::{adapter, paths_of, start, weights};
use task::{Lora, Parts};

/// File that says what a trained folder is.
pub const MANIFEST: &str = INTENT;

/// Activations of a pass that are kept without asking, in bytes.
const PLENTY: usize = 4 << 30;

/// The system prompt that adapters are trained with: short, because what twelve examples tell an untrained model an
/// adapter has learnt, and every token of it is paid for in each step.
pub const SYSTEM_PROMPT: &str = "Classify the telecom customer's message as reset_device, device_status, device_faq, \
                                 billing, greeting or unknown. Answer with JSON only.";

/// The configuration that adapters are trained with: the default one with [`SYSTEM_PROMPT`].
#[must_use]
pub fn default_config() -> IntentConfig {
    let mut config = IntentConfig::default();
    if let Some(prompt) = &mut config.prompt {
        SYSTEM_PROMPT.clone_into(&mut prompt.system);
    }
    config
}

/// A run of `train lora`.
pub struct Request<'a> {
    /// What it starts from.
    pub base: Base,
    /// What it sees.
    pub data: &'a Data,
    /// Labels, prompt, threshold and policy.
    pub config: &'a IntentConfig,
    /// The command's options that `config` is from, and the names of their files: what the manifest tells of it.
    pub config_from: Vec<(&'static str, String)>,
    /// The adapter that it goes on from; new paths where absent.
    pub start: Option<Start<'a>>,
    /// What it does.
    pub hyper: &'a Hyperparameters,
    /// Where it computes.
    pub device: &'a Device,
    /// Whether the backward pass computes layers again instead of keeping their activations; by size where absent. The
    /// result is the same.
    pub checkpointing: Option<bool>,
    /// Where the result goes.
    pub out: &'a Path,
    /// Whether to continue from the checkpoint there.
    pub resume: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

/// An adapter that a run goes on from.
pub struct Start<'a> {
    /// Name of its folder, for the manifest.
    pub name: String,
    /// Its files.
    pub files: &'a AdapterFiles,
}

impl Start<'_> {
    /// Its paths, which must be those that are asked for.
    fn adapter(&self, base: &Base, asked: &Paths) -> Result<Adapter> {
        // Of an adapter from elsewhere it is not known, and nobody can check it here.
        if self.files.intent().is_some() {
            self.files.check_base(Some(&base.sha256))?;
        }
        let adapter = self.files.adapter(&base.sizes)?;
        let found = paths_of(&adapter, &base.sizes)?;
        #[expect(clippy::cast_possible_truncation, reason = "an adapter's factor is in single precision")]
        let rounded = Paths { scale: f64::from(asked.scale as f32), ..asked.clone() };
        if found == rounded {
            return Ok(adapter);
        }
        let detail = format!("its paths are not those asked for: {found:?}, asked for {asked:?}");
        Err(IntentError::argument("--adapter", detail))
    }

    /// What manifest and checkpoint tell of it.
    fn account(&self) -> serde_json::Value {
        json!({"name": self.name, "files": Digests::of(&self.files.config, &self.files.tensors)})
    }
}

/// Trains and writes the result: an adapter in PEFT's layout, in 2-byte floats, and `intent.json`. While it runs the
/// folder holds a checkpoint, and `training.jsonl` grows.
///
/// # Errors
/// `invalid_argument` for options that can't work, a checkpoint of another run, or an adapter to start from with other
/// paths than those asked for, `wrong_base` for one of another base, `invalid_config` for a configuration that does not
/// fit data or base, `training`, `io`, and whatever `observe` returns, which ends the run at once.
pub fn train(request: Request, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<Intent> {
    check(&request)?;
    let settings = settings(&request);
    let Request { mut base, data, config, hyper, device, out, .. } = request;
    let paths = asked_paths(&base, hyper)?;
    let former = request.start.as_ref().map(|start| start.adapter(&base, &paths)).transpose()?;
    std::fs::create_dir_all(out).map_err(|error| IntentError::io(out.display(), error))?;
    let network = Network::new(&mut base.gguf, base.sizes, paths, device, hyper.products)?;
    let examples = Examples::new(&network, &base.tokenizer, config)?;
    let checkpointing = request
        .checkpointing
        .unwrap_or_else(|| kept_bytes(&network, &examples, data, &base.tokenizer, hyper) > PLENTY);
    let parts = Parts {
        network: &network,
        examples: &examples,
        tokenizer: &base.tokenizer,
        data,
        hyper,
        checkpointing,
    };
    let mut task = Lora::new(&parts)?;
    let parameters = start(&network, hyper.seed, hyper.rate)?;
    if let Some(former) = &former {
        parameters.set(&weights(&network, former)?, TENSORS)?;
    }
    if !request.resume {
        clear(out, MANIFEST, &[TENSORS, CONFIG])?;
    }
    let outcome = Run::open(&mut task, &parameters, settings, out, request.resume)?.finish(observe)?;
    let finished = result::Finished {
        base: &base,
        data,
        config,
        config_from: &request.config_from,
        start: request.start.as_ref(),
        hyper,
        network: &network,
        examples: &examples,
        outcome: &outcome,
        parameters: parameters.elements(),
    };
    finished.write(&task, out)
}

fn check(request: &Request) -> Result<()> {
    let Request { data, config, hyper, .. } = request;
    hyper.check()?;
    config.check()?;
    if config.labels == data.labels {
        return Ok(());
    }
    let detail = format!("{:?}; the data's are {:?}", config.labels, data.labels);
    Err(IntentError::config("labels", detail))
}

fn settings(request: &Request) -> Settings {
    let Request { base, data, config, hyper, .. } = request;
    let mut run = json!({
        "base": base.sha256,
        "data": data.account,
        "config": config,
        "hyperparameters": hyper,
    });
    if let (Some(start), Some(run)) = (&request.start, run.as_object_mut()) {
        run.insert("adapter".to_owned(), start.account());
    }
    Settings {
        epochs: hyper.epochs,
        optimizer: hyper.optimizer.clone(),
        warmup: hyper.warmup,
        decay: hyper.decay,
        averaging: Averaging::Off,
        keep_best: hyper.keep == Keep::Best,
        evaluate_every: hyper.evaluate_every,
        patience: hyper.patience,
        checkpoint_every: request.checkpoint_every,
        run,
    }
}

/// The low-rank paths that are asked for.
fn asked_paths(base: &Base, hyper: &Hyperparameters) -> Result<Paths> {
    let layers = base.sizes.layers;
    if hyper.top_layers > layers {
        let detail = format!("{} has {layers} layers", base.name);
        return Err(IntentError::argument("--top-layers", detail));
    }
    for target in &hyper.targets {
        let [out, width] = target.shape(&base.sizes);
        if hyper.rank > out.min(width) {
            let detail =
                format!("{} is more than {target} of {} has: {out} times {width}", hyper.rank, base.name);
            return Err(IntentError::argument("--rank", detail));
        }
    }
    let count = if hyper.top_layers == 0 { layers } else { hyper.top_layers };
    let mut projections = hyper.targets.clone();
    projections.sort_unstable();
    Ok(Paths { rank: hyper.rank, scale: hyper.scale(), projections, first_layer: layers - count })
}

/// Bytes of the activations that a pass would keep.
fn kept_bytes(
    network: &Network,
    examples: &Examples,
    data: &Data,
    tokenizer: &Tokenizer,
    hyper: &Hyperparameters,
) -> usize {
    let sizes = network.config();
    let length = |text: &str| tokenizer.encode(text).map_or(0, |tokens| tokens.len());
    let mut lengths: Vec<usize> = data.train.iter().map(|sample| length(&sample.text)).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let messages = if hyper.pass == 0 { hyper.batch } else { hyper.pass };
    let longest: usize = lengths.iter().take(messages).map(|length| length + examples.suffix_tokens()).sum();
    let kv = sizes.heads.kv * sizes.heads.dim;
    let floats = 6 * sizes.hidden + 2 * kv + 3 * sizes.feed_forward;
    (examples.prefix_tokens() + longest) * floats * 4 * sizes.layers
}

/// The device of that name: `cpu`, `cuda`, `cuda:1`, `metal`.
///
/// # Errors
/// `invalid_argument` for another name, or for one that this program is not built for.
pub fn device(name: &str) -> Result<Device> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let number: usize =
        number.parse().map_err(|error| IntentError::argument("--device", format!("{name:?}: {error}")))?;
    let found = match kind {
        "cpu" if number == 0 => return Ok(Device::Cpu),
        "cuda" => Device::new_cuda(number),
        "metal" => Device::new_metal(number),
        _ => return Err(IntentError::argument("--device", format!("{name:?} is not cpu, cuda or metal"))),
    };
    found.map_err(|error| {
        let detail = format!("{name}: {error} (it takes a program built with `--features {kind}`)");
        IntentError::argument("--device", detail)
    })
}
