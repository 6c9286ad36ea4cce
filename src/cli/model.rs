//! From the name of a model to a classifier.

mod args;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapter::TENSORS;
use crate::baselines::Baseline;
use crate::builtin;
use crate::cascade::Cascade;
use crate::classifier::Classifier;
use crate::eval::Evaluator;
use crate::eval::identity::{FileIdentity, ModelIdentity, TrainedOn};
use crate::loader::PackLoader;
use crate::pack::manifest::{MANIFEST, sha256};
use crate::pack::{IntentConfig, Manifest, check_threshold};
use crate::{IntentError, Result};
use args::read;
pub(super) use args::{ConfigArgs, PromptArgs, adapter};

/// What a name of a model stands for.
enum Kind {
    Baseline(Baseline),
    /// The pack that is part of this program, then what --then names.
    Cascade,
    File(PathBuf),
    Pack(Pack),
}

/// A pack, and where it is.
enum Pack {
    /// The one that is part of this program.
    Compact,
    Folder(PathBuf),
}

impl Pack {
    fn loader(&self) -> Result<PackLoader> {
        match self {
            Self::Compact => builtin::compact(),
            Self::Folder(path) => PackLoader::read_folder(path),
        }
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compact => f.write_str(COMPACT),
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Name of the pack that is part of this program, and the model where none is named.
pub(super) const COMPACT: &str = "compact";

/// Name of the cascade.
const CASCADE: &str = "cascade";

fn kind(name: &str) -> Result<Kind> {
    named("--model", name)
}

/// What `name`, given by `option`, stands for.
fn named(option: &str, name: &str) -> Result<Kind> {
    if let Ok(baseline) = name.parse() {
        return Ok(Kind::Baseline(baseline));
    }
    if name == CASCADE {
        return Ok(Kind::Cascade);
    }
    if name == COMPACT {
        return Ok(Kind::Pack(Pack::Compact));
    }
    let path = PathBuf::from(name);
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if gguf || path.is_file() {
        return Ok(Kind::File(path));
    }
    if path.join(MANIFEST).is_file() {
        return Ok(Kind::Pack(Pack::Folder(path)));
    }
    Err(IntentError::argument(
        option,
        format!(
            "{name:?} is neither compact, cascade, keyword, complement-nb, a GGUF file nor a pack's folder"
        ),
    ))
}

/// What a cascade asks where compact is unsure.
fn second(args: &ConfigArgs) -> Result<Kind> {
    let Some(name) = &args.then else {
        let detail = "a cascade needs a second model: a Qwen2.5 pack's folder, or a GGUF file with its --adapter; \
                      `relayops-intent fetch qwen2.5-0.5b` brings the file";
        return Err(IntentError::argument("--then", detail));
    };
    match named("--then", name)? {
        second @ (Kind::File(_) | Kind::Pack(Pack::Folder(_))) => Ok(second),
        Kind::Baseline(_) | Kind::Cascade | Kind::Pack(Pack::Compact) => {
            let detail = format!("{name} is no second model; a Qwen2.5 pack's folder and a GGUF file are");
            Err(IntentError::argument("--then", detail))
        }
    }
}

/// Refuses thresholds that are none, or that are more than some model has stages.
///
/// # Errors
/// `invalid_argument` naming `--threshold`.
pub(super) fn check_thresholds(names: &[String], given: &[f32]) -> Result<()> {
    let refused = |detail| IntentError::argument("--threshold", detail);
    given.iter().try_for_each(|threshold| check_threshold(*threshold)).map_err(refused)?;
    for name in names {
        let stages = if matches!(kind(name)?, Kind::Cascade) { 2 } else { 1 };
        if given.len() > 1 && given.len() != stages {
            return Err(refused(format!("{} for {name}, which has {stages} stage(s)", given.len())));
        }
    }
    Ok(())
}

/// Refuses cascades for an option that is about one confidence.
///
/// # Errors
/// `invalid_argument` naming `option`.
pub(super) fn refuse_cascade(names: &[String], option: &str) -> Result<()> {
    if names.iter().any(|name| is_cascade(name)) {
        let detail = "a cascade has a threshold for each stage; --max-unsafe chooses them";
        return Err(IntentError::argument(option, detail));
    }
    Ok(())
}

/// The labels that all the models answer with.
///
/// # Errors
/// `invalid_argument` where they differ, and the errors of reading a pack's manifest.
pub(super) fn labels(names: &[String], args: &ConfigArgs) -> Result<Vec<String>> {
    let mut common: Option<Vec<String>> = None;
    for name in names {
        let labels = match kind(name)? {
            Kind::Pack(Pack::Folder(path)) => {
                Manifest::from_json(read(&path.join(MANIFEST))?.as_bytes())?.config.labels
            }
            Kind::File(_) => args.labels()?,
            // Its second model must have those of compact.
            Kind::Baseline(_) | Kind::Cascade | Kind::Pack(Pack::Compact) => IntentConfig::default().labels,
        };
        match &common {
            None => common = Some(labels),
            Some(others) if *others == labels => {}
            Some(_) => {
                return Err(IntentError::argument(
                    "--model",
                    format!("{name} has other labels than the models before it"),
                ));
            }
        }
    }
    common.map_or_else(|| args.labels(), Ok)
}

/// Checks names before any model is read. An option that is for no model among several is refused, since it would do
/// nothing.
///
/// # Errors
/// `invalid_argument` naming the option.
pub(super) fn check(names: &[String], args: &ConfigArgs) -> Result<()> {
    let (mut refusal, mut taken, mut cascade) = (None, false, false);
    for name in names {
        let kind = match kind(name)? {
            Kind::Cascade => {
                cascade = true;
                second(args)?
            }
            kind => kind,
        };
        let detail = match kind {
            Kind::Baseline(baseline) => format!("{baseline} takes none, only model files do"),
            Kind::Pack(pack) => format!("the pack {pack} has its own"),
            Kind::Cascade | Kind::File(_) => {
                taken = true;
                continue;
            }
        };
        refusal = refusal.or(Some(detail));
    }
    if args.then.is_some() && !cascade {
        return Err(IntentError::argument("--then", "only --model cascade has a second model"));
    }
    match (args.given().next(), refusal) {
        (Some(option), Some(detail)) if !taken => Err(IntentError::argument(option, detail)),
        _ => Ok(()),
    }
}

/// The model of a name.
///
/// # Errors
/// `invalid_argument` for a name that stands for nothing, and the errors of loading.
pub(super) fn open(name: &str, args: &ConfigArgs) -> Result<Cascade> {
    check(&[name.to_owned()], args)?;
    match kind(name)? {
        Kind::Baseline(baseline) => baseline.classifier().map(Cascade::from),
        Kind::Cascade => cascade(one(second(args)?, args)?),
        kind => one(kind, args).map(Cascade::from),
    }
}

/// The classifier of what is no cascade.
fn one(kind: Kind, args: &ConfigArgs) -> Result<Classifier> {
    match kind {
        Kind::Baseline(baseline) => baseline.classifier(),
        Kind::Cascade => Err(IntentError::argument("--then", "a cascade in a cascade")),
        Kind::File(path) => args.open(&path, false),
        Kind::Pack(pack) => pack.loader()?.finish(),
    }
}

/// Compact, then `second`.
fn cascade(second: Classifier) -> Result<Cascade> {
    Cascade::from(Pack::Compact.loader()?.finish()?).followed_by(second.into())
}

/// As [`open`], with float weights that multiply activations as they are.
///
/// # Errors
/// As [`open`], and `invalid_argument` for what is no single model.
pub(super) fn open_exact(name: &str, args: &ConfigArgs) -> Result<Cascade> {
    check(&[name.to_owned()], args)?;
    match kind(name)? {
        Kind::Baseline(baseline) => {
            Err(IntentError::argument("--model", format!("{baseline} has no weights")))
        }
        Kind::Cascade => Err(IntentError::argument("--flips", "takes one model, not a cascade")),
        Kind::File(path) => args.open(&path, true).map(Cascade::from),
        Kind::Pack(pack) => pack.loader()?.exact().finish().map(Cascade::from),
    }
}

/// As [`open`], on this machine's GPU.
///
/// # Errors
/// As [`open_exact`], and `unavailable` where there is no GPU.
pub(super) fn open_on_gpu(name: &str, args: &ConfigArgs) -> Result<Cascade> {
    check(&[name.to_owned()], args)?;
    match kind(name)? {
        Kind::Baseline(baseline) => {
            Err(IntentError::argument("--model", format!("{baseline} has no weights")))
        }
        Kind::Cascade => Err(IntentError::argument("--gpu-flips", "takes one model, not a cascade")),
        Kind::File(path) => args.finish(&path, super::gpu::finish_file).map(Cascade::from),
        Kind::Pack(pack) => super::gpu::finish_pack(pack.loader()?).map(Cascade::from),
    }
}

/// The model of a name, called `title`, with what is known about it.
///
/// # Errors
/// As [`open`].
pub(super) fn evaluator(name: &str, title: &str, args: &ConfigArgs) -> Result<Evaluator> {
    match kind(name)? {
        Kind::Baseline(baseline) => baseline.evaluator(),
        Kind::Cascade => {
            let (second, mut identity) = identified(second(args)?, args)?;
            let own = identity.configuration.take().unwrap_or_default();
            identity.configuration = Some(format!("{COMPACT}'s, then {own}"));
            Ok(Evaluator::new(title, cascade(second)?).with_identity(identity))
        }
        kind => {
            let (classifier, identity) = identified(kind, args)?;
            Ok(Evaluator::new(title, classifier).with_identity(identity))
        }
    }
}

/// The classifier of what is no cascade, with what is known about it.
fn identified(kind: Kind, args: &ConfigArgs) -> Result<(Classifier, ModelIdentity)> {
    match kind {
        Kind::File(path) => {
            let adapter = args.adapter()?;
            let identity = ModelIdentity {
                file: Some(FileIdentity::of(&path)?),
                adapter: args.adapter_folder().zip(adapter.as_ref()).map(|(folder, files)| FileIdentity {
                    path: folder.join(TENSORS).display().to_string(),
                    bytes: files.tensors.len() as u64,
                    sha256: sha256(&files.tensors),
                }),
                // A file does not say.
                trained_on: adapter.and_then(|files| trained_on(&files.intent()?.training)),
                configuration: Some(args.describe()),
            };
            Ok((args.open(&path, false)?, identity))
        }
        Kind::Pack(pack) => {
            let loader = pack.loader()?;
            let identity = pack_identity(&pack, &loader);
            Ok((loader.finish()?, identity))
        }
        other => Ok((one(other, args)?, ModelIdentity::default())),
    }
}

/// A pack is known by its manifest, which names the digests of all its files.
fn pack_identity(pack: &Pack, loader: &PackLoader) -> ModelIdentity {
    let manifest = loader.manifest();
    ModelIdentity {
        file: Some(FileIdentity {
            path: pack.to_string(),
            bytes: manifest.total_bytes(),
            sha256: loader.identity().to_owned(),
        }),
        adapter: None,
        trained_on: trained_on(&manifest.training),
        configuration: Some("the pack's".to_owned()),
    }
}

/// What a manifest says of the data that a model was trained on.
fn trained_on(training: &Value) -> Option<TrainedOn> {
    let data = training.get("data")?;
    data.get("train")?;
    let extra = data.get("extra").and_then(Value::as_u64).is_some_and(|n| n > 0);
    Some(TrainedOn { data: "the train part of the dataset's split".to_owned(), extra })
}

/// Whether a name stands for a cascade.
pub(super) fn is_cascade(name: &str) -> bool {
    name == CASCADE
}

/// Whether a name's configuration can be given, and so is worth saving.
///
/// # Errors
/// `invalid_argument` for a name that stands for nothing.
pub(super) fn is_configurable(name: &str) -> Result<bool> {
    Ok(matches!(kind(name)?, Kind::File(_)))
}

/// How models are called in results: a file by its name without extension, a pack by its folder, with as many folders before it as tell it
/// from the others, and by the whole path where that is not enough.
pub(super) fn titles(names: &[String]) -> Vec<String> {
    let deepest = names.iter().map(|name| Path::new(name).components().count()).max().unwrap_or(0);
    let mut titles: Vec<String> = names.iter().map(|name| title(name, 1)).collect();
    for depth in 2..=deepest + 1 {
        let repeated = repeated(&titles);
        for (title_now, name) in titles.iter_mut().zip(names).filter(|(title, _)| repeated.contains(*title)) {
            *title_now = if depth > deepest { name.clone() } else { title(name, depth) };
        }
    }
    titles
}

fn repeated(titles: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    titles.iter().filter(|title| !seen.insert(*title)).cloned().collect()
}

/// The last `depth` parts of a file's path, without its extension.
fn title(name: &str, depth: usize) -> String {
    let path = match kind(name) {
        Ok(Kind::File(path)) => path.with_extension(""),
        Ok(Kind::Pack(Pack::Folder(path))) => path,
        _ => return name.to_owned(),
    };
    let parts: Vec<_> = path.components().collect();
    let last = parts[parts.len().saturating_sub(depth)..].iter().collect::<PathBuf>();
    if last.as_os_str().is_empty() { name.to_owned() } else { last.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_titles(names: &[&str], expected: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(titles(&names), expected);
    }

    #[test]
    fn equal_titles_are_told_apart() {
        assert_titles(&["keyword", "a/x.gguf", "b/y.gguf"], &["keyword", "x", "y"]);
        assert_titles(&["a/x.gguf", "b/x.gguf", "b/y.gguf"], &["a/x", "b/x", "y"]);
        assert_titles(&["1/a/x.gguf", "2/a/x.gguf", "x.gguf"], &["1/a/x", "2/a/x", "x"]);
        assert_titles(&["/m/keyword.gguf", "keyword"], &["m/keyword", "keyword"]);
        assert_titles(&["x.gguf", "./x.gguf", "x.GGUF"], &["x.gguf", "./x", "x.GGUF"]);
    }
}
