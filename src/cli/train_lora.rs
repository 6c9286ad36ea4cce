//! `relayops-intent train lora`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::model::PromptArgs;
use super::say;
use super::train::{continues, watched};
use crate::adapter::{AdapterFiles, Intent};
use crate::pack::IntentConfig;
use crate::train::data::Data;
use crate::train::lora::{self, Base, Hyperparameters, Request, Start};
use crate::{IntentError, Result};

/// Train an adapter (LoRA): low-rank paths beside the frozen matrices of a Qwen2 model.
///
/// Writes a folder in PEFT's layout: adapter_config.json, adapter_model.safetensors, and intent.json with labels, prompt,
/// temperature, threshold, the base and how it was made. training.jsonl is the log. A run that was interrupted at any
/// moment goes on with --resume and ends in the same weights. The prompt is short unless --config or --system-prompt
/// give another: an adapter learns what examples in a prompt would tell.
#[derive(Args)]
pub(super) struct LoraArgs {
    /// GGUF file, a folder with config.json, tokenizer.json and model.safetensors, or qwen2.5-0.5b or qwen2.5-1.5b as
    /// `fetch` brings them.
    #[arg(long, value_name = "FILE|DIR|NAME")]
    base: String,
    /// Folder for the result; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the adapter in this folder instead of new paths, with labels, prompt and policy of its intent.json
    /// unless --config or --system-prompt give others; rank, alpha and targets must be its.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Continue the run whose checkpoint is in the folder; the other options must be the same.
    #[arg(long)]
    resume: bool,
    /// Replace what an earlier run left in the folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Steps between checkpoints; there is one at each look and at the end of each epoch anyway.
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_every: usize,
    /// Compute activations again in the backward pass instead of keeping them: less memory, a third more time.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    checkpointing: Checkpointing,
    /// cpu, cuda or metal, with :N for another than the first; the latter two take a program built with that feature.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Print accuracy, macro-F1 and loss on dev's first half at each look, for choosing a recipe.
    #[arg(long)]
    choose: bool,
    /// Print intent.json as one JSON object instead of the folder.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hyper: Hyperparameters,
}

/// When activations are computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Checkpointing {
    /// When those of a pass would take more than 4 GiB.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

pub(super) fn run(args: &LoraArgs) -> Result<ExitCode> {
    args.hyper.check()?;
    let resume = continues(&args.out, args.resume, args.overwrite)?;
    let former = args.adapter.as_deref().map(former).transpose()?;
    let config = args.prompt.read_or(|| former.as_ref().map_or_else(lora::default_config, anew))?;
    let device = lora::device(&args.device)?;
    let data = Data::read(args.hyper.extra, args.hyper.templates)?;
    let base = Base::read(&lora::resolve(&args.base)?)?;
    let account = &data.account;
    eprintln!(
        "relayops-intent: {} messages ({} train, {} extra, {} from families), base {}",
        data.train.len(),
        account.train,
        account.extra,
        account.templates,
        base.name
    );
    let request = Request {
        base,
        data: &data,
        config: &config,
        config_from: args.prompt.files(),
        start: args.adapter.as_deref().zip(former.as_ref()).map(start),
        hyper: &args.hyper,
        device: &device,
        checkpointing: match args.checkpointing {
            Checkpointing::Auto => None,
            Checkpointing::On => Some(true),
            Checkpointing::Off => Some(false),
        },
        out: &args.out,
        resume,
        checkpoint_every: args.checkpoint_every,
    };
    let intent = watched(args.choose, |observe| lora::train(request, observe))?;
    report(args, &intent)?;
    Ok(ExitCode::SUCCESS)
}

/// The adapter that the run goes on from.
fn former(folder: &Path) -> Result<AdapterFiles> {
    AdapterFiles::read_or(folder, || Ok(lora::default_config()))
}

/// What a trained adapter is asked, without what was chosen for its weights.
fn anew(former: &AdapterFiles) -> IntentConfig {
    let IntentConfig { threshold, temperature, .. } = lora::default_config();
    IntentConfig { threshold, temperature, cascade: None, ..former.intent_config().clone() }
}

fn start<'a>((folder, files): (&Path, &'a AdapterFiles)) -> Start<'a> {
    let name = folder.file_name().map_or_else(|| folder.to_string_lossy(), |name| name.to_string_lossy());
    Start { name: name.into_owned(), files }
}

fn report(args: &LoraArgs, intent: &Intent) -> Result<()> {
    if args.json {
        let text = serde_json::to_string(intent)
            .map_err(|error| IntentError::io("intent.json", std::io::Error::other(error)))?;
        return say(text);
    }
    eprintln!("relayops-intent: temperature {:.4}", intent.config.temperature);
    if let Some(reason) = intent.training["temperature_not_fitted"].as_str() {
        eprintln!("relayops-intent: the temperature was not fitted: {reason}");
    }
    say(args.out.display())
}
