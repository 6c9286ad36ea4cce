//! From the name of a model to a classifier.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::baselines::Baseline;
use crate::classifier::Classifier;
use crate::loader::{Loader, PackLoader};
use crate::pack::IntentConfig;
use crate::pack::manifest::MANIFEST;
use crate::{IntentError, Result};

/// What may be changed of a model file's configuration.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// Use the labels, prompt, temperature, threshold and policy of FILE, as --save-config writes them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use the text of FILE as the system prompt, less one line end at its end.
    #[arg(long, value_name = "FILE")]
    system_prompt: Option<PathBuf>,
}

impl ConfigArgs {
    fn read(&self) -> Result<IntentConfig> {
        let mut config = match &self.config {
            Some(path) => IntentConfig::from_json(&read(path)?)
                .map_err(|error| IntentError::config(path.display().to_string(), error))?,
            None => IntentConfig::default(),
        };
        if let Some(path) = &self.system_prompt {
            let text = read(path)?;
            // The line end that editors put behind the last line is not part of the prompt.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
            match &mut config.prompt {
                Some(prompt) => prompt.system = text,
                None => {
                    return Err(IntentError::argument("--system-prompt", "the configuration has no prompt"));
                }
            }
        }
        Ok(config)
    }

    /// The labels that messages may have.
    pub(super) fn labels(&self) -> Result<Vec<String>> {
        Ok(self.read()?.labels)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))
}

/// What a name of a model stands for.
enum Kind {
    Baseline(Baseline),
    File(PathBuf),
    Pack(PathBuf),
}

fn kind(name: &str) -> Result<Kind> {
    if let Ok(baseline) = name.parse() {
        return Ok(Kind::Baseline(baseline));
    }
    let path = PathBuf::from(name);
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if gguf || path.is_file() {
        return Ok(Kind::File(path));
    }
    if path.join(MANIFEST).is_file() {
        return Ok(Kind::Pack(path));
    }
    Err(IntentError::argument(
        "--model",
        format!("{name:?} is neither keyword, complement-nb, a GGUF file nor a pack's folder"),
    ))
}

/// Checks names before any model is read.
///
/// # Errors
/// `invalid_argument` naming the option.
pub(super) fn check(names: &[String], args: &ConfigArgs) -> Result<()> {
    for name in names {
        let detail = match kind(name)? {
            Kind::Baseline(baseline) => format!("{baseline} takes none, only model files do"),
            Kind::Pack(_) => format!("the pack {name} has its own"),
            Kind::File(_) => continue,
        };
        for (option, given) in [("--config", &args.config), ("--system-prompt", &args.system_prompt)] {
            if given.is_some() {
                return Err(IntentError::argument(option, detail));
            }
        }
    }
    Ok(())
}

/// The classifier of a name.
///
/// # Errors
/// `invalid_argument` for a name that stands for nothing, and the errors of loading.
pub(super) fn open(name: &str, args: &ConfigArgs) -> Result<Classifier> {
    check(&[name.to_owned()], args)?;
    match kind(name)? {
        Kind::Baseline(baseline) => baseline.classifier(),
        Kind::File(path) => Loader::read_file(&path, args.read()?)?.finish(),
        Kind::Pack(path) => PackLoader::read_folder(&path)?.finish(),
    }
}

/// As [`open`], with float weights that multiply activations as they are.
///
/// # Errors
/// As [`open`], and `invalid_argument` for what is no model.
pub(super) fn open_exact(name: &str, args: &ConfigArgs) -> Result<Classifier> {
    check(&[name.to_owned()], args)?;
    match kind(name)? {
        Kind::Baseline(baseline) => {
            Err(IntentError::argument("--model", format!("{baseline} has no weights")))
        }
        Kind::File(path) => Loader::read_file(&path, args.read()?)?.exact().finish(),
        Kind::Pack(path) => PackLoader::read_folder(&path)?.exact().finish(),
    }
}

/// How a model is called in results: a file by its name without folder and extension, a pack by its folder's.
pub(super) fn title(name: &str) -> String {
    match kind(name) {
        Ok(Kind::File(path)) => {
            path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned())
        }
        Ok(Kind::Pack(path)) => {
            path.file_name().map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned())
        }
        _ => name.to_owned(),
    }
}
