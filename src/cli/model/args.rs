//! What a command line says of a model's labels, prompt and adapter.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::adapter::{AdapterFiles, INTENT};
use crate::classifier::Classifier;
use crate::loader::Loader;
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// What may be changed of a model file's labels and prompt.
#[derive(Args)]
pub(in crate::cli) struct PromptArgs {
    /// Use the labels, prompt, temperature, threshold and policy of FILE, as --save-config writes them.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Use the text of FILE as the system prompt, less one line end at its end.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) system_prompt: Option<PathBuf>,
}

impl PromptArgs {
    /// The options that are given, without their dashes, and the names of their files.
    pub(in crate::cli) fn files(&self) -> Vec<(&'static str, String)> {
        let options = [("config", &self.config), ("system-prompt", &self.system_prompt)];
        let name =
            |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        options.into_iter().filter_map(|(option, path)| Some((option, name(path.as_ref()?)))).collect()
    }

    /// The option that is given, if one is.
    pub(in crate::cli) fn given(&self) -> Option<&'static str> {
        let config = self.config.is_some().then_some("--config");
        config.or(self.system_prompt.is_some().then_some("--system-prompt"))
    }

    /// The configuration that is asked for, on the ground of `default` where no file is given.
    pub(in crate::cli) fn read_or(&self, default: impl FnOnce() -> IntentConfig) -> Result<IntentConfig> {
        let mut config = match &self.config {
            Some(path) => IntentConfig::from_json(&read(path)?)
                .map_err(|error| IntentError::config(path.display().to_string(), error))?,
            None => default(),
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
}

/// What may be changed of a model file's configuration, and what a cascade asks where compact is unsure.
#[derive(Args)]
pub(in crate::cli) struct ConfigArgs {
    /// With --model cascade: what is asked where compact is unsure, a Qwen2.5 pack's folder or model file (GGUF).
    /// --adapter, --config and --system-prompt are for it.
    #[arg(long, value_name = "M")]
    pub(super) then: Option<String>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Put the adapter of DIR beside the model file's weights; its labels, prompt, temperature, threshold and policy
    /// are used. Where DIR has PEFT's two files and no intent.json, those of --config and --system-prompt are, or the
    /// built-in ones, and --force-adapter is needed.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Use the adapter although it was trained for another base, or for one that is not known.
    #[arg(long, requires = "adapter")]
    pub(in crate::cli) force_adapter: bool,
}

impl ConfigArgs {
    /// The second model of a cascade.
    pub(in crate::cli) fn then(&self) -> Option<&str> {
        self.then.as_deref()
    }

    /// The adapter that is asked for.
    pub(in crate::cli) fn adapter(&self) -> Result<Option<AdapterFiles>> {
        self.adapter.as_deref().map(|folder| adapter(folder, &self.prompt)).transpose()
    }

    /// Its folder.
    pub(in crate::cli) fn adapter_folder(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    fn read(&self, adapter: Option<&AdapterFiles>) -> Result<IntentConfig> {
        match adapter {
            Some(files) => Ok(files.intent_config().clone()),
            None => self.prompt.read_or(IntentConfig::default),
        }
    }

    /// The classifier of a model file, by `exact` arithmetic or as it runs.
    pub(super) fn open(&self, path: &Path, exact: bool) -> Result<Classifier> {
        self.finish(path, |loader| if exact { loader.exact() } else { loader }.finish())
    }

    /// The classifier that `finish` makes of a model file.
    pub(super) fn finish(
        &self,
        path: &Path,
        finish: impl FnOnce(Loader) -> Result<Classifier>,
    ) -> Result<Classifier> {
        let adapter = self.adapter()?;
        let config = self.read(adapter.as_ref())?;
        let read = if adapter.is_some() { Loader::read_base } else { Loader::read_file };
        let mut classifier = finish(read(path, config)?)?;
        if let Some(files) = &adapter {
            classifier.set_adapter(Some(files), self.force_adapter)?;
        }
        Ok(classifier)
    }

    /// Where the configuration comes from, in words.
    pub(super) fn describe(&self) -> String {
        let PromptArgs { config, system_prompt } = &self.prompt;
        let config = match (config, &self.adapter) {
            (Some(path), Some(folder)) => format!("{}, adapter {}", path.display(), folder.display()),
            (None, Some(folder)) => format!("adapter {}", folder.display()),
            (Some(path), None) => path.display().to_string(),
            (None, None) => "built in".to_owned(),
        };
        match system_prompt {
            Some(path) => format!("{config}, system prompt of {}", path.display()),
            None => config,
        }
    }

    /// The options that are given, by name.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        let options = [
            ("--config", self.prompt.config.is_some()),
            ("--system-prompt", self.prompt.system_prompt.is_some()),
            ("--adapter", self.adapter.is_some()),
        ];
        options.into_iter().filter(|(_, given)| *given).map(|(option, _)| option)
    }

    /// The labels that messages may have.
    pub(super) fn labels(&self) -> Result<Vec<String>> {
        Ok(self.read(self.adapter()?.as_ref())?.labels)
    }
}

/// The adapter of a folder. Only one that does not say what it answers is asked as `prompt` says.
///
/// # Errors
/// `invalid_argument` naming an option of `prompt` that the adapter has no use for, and those of its files.
pub(in crate::cli) fn adapter(folder: &Path, prompt: &PromptArgs) -> Result<AdapterFiles> {
    let files = AdapterFiles::read_or(folder, || prompt.read_or(IntentConfig::default))?;
    match (files.intent(), prompt.given()) {
        (Some(_), Some(option)) => {
            let detail = format!("the adapter of {} brings its own: {INTENT}", folder.display());
            Err(IntentError::argument(option, detail))
        }
        _ => Ok(files),
    }
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))
}
