//! Packs of Qwen2: an adapter merged into the base, everything rounded, the output matrix cut down to the labels' rows.
//!
//! The header is known before a weight is touched, so tensors are merged, rounded and written one after the other: at no
//! time is there more than the base and one matrix.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde_json::Value as Json;

use super::formats::{Account, Formats, Group, GroupReport};
use super::output::Output;
use super::shards::Shards;
use super::{Settings, Threshold, golden, merge};
use crate::adapter::{Adapter, AdapterFiles, Projection};
use crate::eval::identity::Origin as Calibration;
use crate::fetch::known;
use crate::gguf::write::{ALIGNMENT, Listed, header};
use crate::gguf::{Gguf, Metadata};
use crate::loader::Loader;
use crate::model::qwen2::{EMBEDDING, LABEL_ROWS, LABEL_TOKENS, OUTPUT, Qwen2Config};
use crate::pack::Golden;
use crate::pack::manifest::{FORMAT, MAX_FILES, Manifest, Origin, PackFile, check_name};
use crate::pack::{IntentConfig, check_threshold};
use crate::prompt::Prompt;
use crate::quant::QuantMatrix;
use crate::tokenizer::TokenId;
use crate::train::lora::Base;
use crate::trie::LabelTrie;
use crate::{IntentError, Result};

/// What becomes a pack.
pub struct Source<'a> {
    /// The base.
    pub base: Base,
    /// The adapter that is merged into it, whose labels, prompt, calibration and policy the pack has.
    pub adapter: Option<&'a AdapterFiles>,
    /// Take the adapter although it was trained for another base.
    pub forced: bool,
    /// What the pack has where there is no adapter.
    pub config: IntentConfig,
}

/// A pack that has been written.
pub struct Written {
    /// Its manifest.
    pub manifest: Manifest,
    /// What became of each tensor group.
    pub groups: Vec<GroupReport>,
}

/// A tensor of the pack.
struct Planned {
    listed: Listed,
    group: Group,
    /// Where a path may be.
    place: Option<(usize, Projection)>,
    rows: usize,
    cols: usize,
}

/// The name of a base's pack: the catalog's, else that of its file as far as a name may have its letters.
#[must_use]
pub fn default_name(base: &Base) -> String {
    if let Some(known) = known(&base.sha256) {
        return known.name.to_string();
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    let name = base.name.to_ascii_lowercase();
    name.chars().take(64).map(|c| if allowed(c) { c } else { '-' }).collect()
}

/// Makes the pack in `out`, in the place of an earlier one if `overwrite`; `progress` is told how many of all weights are
/// done.
///
/// # Errors
/// `invalid_argument` naming the option, `wrong_base`, `invalid_config`, `invalid_tensor` naming the tensor, `io`; an
/// earlier pack stays as it was then.
pub fn pack(
    source: Source,
    settings: Settings,
    out: &Path,
    overwrite: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written> {
    let Source { mut base, adapter, forced, config } = source;
    check(&settings)?;
    if let Some(files) = adapter.filter(|_| !forced) {
        files.check_base(Some(&base.sha256))?;
    }
    let (config, threshold_from) = config_of(adapter, config, &settings)?;
    let origin = settings.origin.clone().map_or_else(|| origin(&base, adapter), Ok)?;
    let tokens = keep_label_rows(&mut base, &config)?;
    let merged = adapter.map(|files| files.adapter(&base.sizes)).transpose()?.unwrap_or_default();
    let plan = plan(&base.sizes, &settings.formats, tokens.len())?;
    let header = header_of(&base.gguf.metadata, &settings.name, &tokens, &plan)?;

    let output = Output::open(out, overwrite)?;
    let mut shards = open_shards(output.path(), &header, &plan, settings.max_file_bytes)?;
    drop(header);
    let groups = write_tensors(&mut base.gguf, &plan, &merged, &mut shards, progress)?;
    drop(base);
    let files = shards.finish()?;
    let golden = ask(output.path(), &files, &config)?;
    let training =
        adapter.and_then(AdapterFiles::intent).map_or(Json::Null, |intent| intent.training.clone());
    let parts = Parts { origin, config, threshold_from, files, golden, training };
    let manifest = parts.manifest(settings)?;
    output.finish(&manifest)?;
    Ok(Written { manifest, groups })
}

/// What a manifest is made of beside the settings.
struct Parts {
    origin: Origin,
    config: IntentConfig,
    threshold_from: Calibration,
    files: Vec<PackFile>,
    golden: Golden,
    training: Json,
}

impl Parts {
    fn manifest(self, settings: Settings) -> Result<Manifest> {
        let Self { origin, config, threshold_from, files, golden, training } = self;
        let manifest = Manifest {
            format: FORMAT,
            architecture: "qwen2".to_owned(),
            licence: origin.licence.clone(),
            origin,
            threshold_from: serde_json::to_value(threshold_from)
                .map_err(|error| IntentError::data("threshold_from", error))?,
            golden,
            config,
            files,
            training,
            figures: super::figures::condense(&settings.figures),
            name: settings.name,
            command: settings.command,
        };
        manifest.check()?;
        Ok(manifest)
    }
}

/// What can be refused before minutes of work.
fn check(settings: &Settings) -> Result<()> {
    check_name(&settings.name).map_err(|error| IntentError::argument("--name", error))?;
    if settings.prune_vocabulary {
        return Err(IntentError::argument("--prune-vocabulary", "is for encoders"));
    }
    if let Some(temperature) = settings.temperature.filter(|t| !(t.is_finite() && *t > 0.0)) {
        return Err(IntentError::argument(
            "--temperature",
            format!("{temperature} is not a positive number"),
        ));
    }
    match settings.threshold {
        Threshold::Given(threshold) => {
            check_threshold(threshold).map_err(|detail| IntentError::argument("--threshold", detail))?;
        }
        Threshold::MaxUnsafe(_) => {
            return Err(IntentError::argument("--max-unsafe", "is for encoders; use that of `eval`"));
        }
        Threshold::OfBase => {}
    }
    settings.check_max_file_bytes()
}

/// The adapter's configuration, or the given one, with the calibration that is asked for, and where the threshold is from.
fn config_of(
    adapter: Option<&AdapterFiles>,
    given: IntentConfig,
    settings: &Settings,
) -> Result<(IntentConfig, Calibration)> {
    let mut config = adapter.map_or(given, |files| files.intent_config().clone());
    // Its thresholds were chosen for the confidences of other weights, rounded otherwise.
    config.cascade = None;
    let mut from = Calibration::Configuration;
    if let Some(temperature) = settings.temperature {
        config.temperature = temperature;
    }
    if let Threshold::Given(threshold) = settings.threshold {
        (config.threshold, from) = (threshold, Calibration::Argument);
    }
    config.check()?;
    Ok((config, from))
}

/// What catalog and adapter know of the base.
fn origin(base: &Base, adapter: Option<&AdapterFiles>) -> Result<Origin> {
    let changed = if adapter.is_some() { "an intent adapter merged, " } else { "" };
    let changed =
        format!("Changed: {changed}the output matrix cut down to the labels' rows, weights quantized anew.");
    let origin = |base_name: &str, licence: &str, notices: String| Origin {
        base: base_name.to_owned(),
        sha256: base.sha256.clone(),
        licence: licence.to_owned(),
        notices,
    };
    if let Some(known) = known(&base.sha256) {
        let notices = format!("Made from {} by Alibaba Cloud. Apache License 2.0. {changed}", known.repo);
        return Ok(origin(&known.repo, "Apache-2.0", notices));
    }
    let stated = adapter.and_then(AdapterFiles::intent).and_then(|intent| intent.base.licence.as_deref());
    match stated {
        Some(licence) => Ok(origin(&base.name, licence, changed)),
        None => {
            let detail = "is missing, and neither catalog nor adapter know the base: a file with its name, SHA-256, \
                          licence and notices";
            Err(IntentError::argument("--origin", detail))
        }
    }
}

/// Puts the rows that the labels need in the place of the output matrix; the tokens they belong to.
fn keep_label_rows(base: &mut Base, config: &IntentConfig) -> Result<Vec<TokenId>> {
    let prompt = Prompt::new(config, &base.tokenizer)?;
    let tokens = LabelTrie::new(&prompt.answers)?.children();
    let width = base.sizes.hidden;
    let whole = base.gguf.tensors.remove(OUTPUT);
    let mut rows = vec![0.0; tokens.len() * width];
    {
        let matrix = match &whole {
            Some(matrix) => matrix,
            None => base.gguf.tensors.get(EMBEDDING).ok_or_else(|| {
                let detail = "is missing";
                IntentError::data(format!("{}: {EMBEDDING}", base.gguf.metadata.file()), detail)
            })?,
        };
        for (token, row) in tokens.iter().zip(rows.chunks_exact_mut(width)) {
            matrix.dequantize_row(token.0 as usize, row);
        }
    }
    base.gguf.tensors.insert(LABEL_ROWS.to_owned(), QuantMatrix::from_f32(tokens.len(), width, &rows)?);
    Ok(tokens)
}

/// The tensors in the order in which they are written.
fn plan(sizes: &Qwen2Config, formats: &Formats, label_rows: usize) -> Result<Vec<Planned>> {
    let sizes = Qwen2Config { label_rows: Some(label_rows), ..*sizes };
    let planned = |(name, [rows, cols], _): (String, [usize; 2], bool)| {
        let (group, place) = part(&name);
        let format = formats.of(group, cols);
        let bytes = format.row_bytes(cols).and_then(|row| row.checked_mul(rows));
        let bytes = bytes.ok_or_else(|| IntentError::data(format!("GGUF: {name}"), "is too large"))?;
        let shape = if group == Group::Vectors { vec![cols] } else { vec![rows, cols] };
        Ok(Planned { listed: Listed { name, shape, format, bytes }, group, place, rows, cols })
    };
    sizes.tensors().into_iter().map(planned).collect()
}

/// The group of a tensor, and the projection that it is.
fn part(name: &str) -> (Group, Option<(usize, Projection)>) {
    match name {
        EMBEDDING => return (Group::Embedding, None),
        LABEL_ROWS => return (Group::Head, None),
        _ => {}
    }
    let place = || {
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        Some((layer.parse().ok()?, Projection::ALL.into_iter().find(|p| p.gguf_name() == part)?))
    };
    let place = place();
    let group = match place.map(|(_, projection)| projection) {
        None => Group::Vectors,
        Some(Projection::Gate | Projection::Up) => Group::FeedForward,
        Some(Projection::Down) => Group::Down,
        Some(Projection::Query | Projection::Key | Projection::Value | Projection::Output) => {
            Group::Attention
        }
    };
    (group, place)
}

/// Begins the files in `out` with the header.
fn open_shards<'a>(out: &'a Path, header: &[u8], plan: &[Planned], limit: u64) -> Result<Shards<'a>> {
    let padded = |tensor: &Planned| tensor.listed.bytes.next_multiple_of(ALIGNMENT) as u64;
    let total = header.len() as u64 + plan.iter().map(padded).sum::<u64>();
    let count = total.div_ceil(limit);
    if count > MAX_FILES as u64 {
        let detail = format!("{total} bytes would be {count} files; a pack has at most {MAX_FILES}");
        return Err(IntentError::argument("--max-file-bytes", detail));
    }
    let mut shards = Shards::new(out, total, limit);
    shards.write(header)?;
    Ok(shards)
}

/// Sizes and tokenizer of the base, and the labels' tokens; what else it says (chat template, its own formats) is not of
/// the pack.
fn header_of(metadata: &Metadata, name: &str, tokens: &[TokenId], plan: &[Planned]) -> Result<Vec<u8>> {
    let own = [
        ("general.architecture", Value::String("qwen2".to_owned())),
        ("general.name", Value::String(name.to_owned())),
        (LABEL_TOKENS, Value::Array(tokens.iter().map(|token| Value::U32(token.0)).collect())),
    ];
    let taken = |key: &str| key.starts_with("qwen2.") || key.starts_with("tokenizer.ggml.");
    let base = metadata.entries().into_iter().filter(|(key, _)| taken(key));
    let all: Vec<(&str, &Value)> = own.iter().map(|(key, value)| (*key, value)).chain(base).collect();
    header(&all, plan.iter().map(|tensor| &tensor.listed))
}

/// Merges, rounds and writes one tensor after the other, each of which leaves the base.
fn write_tensors(
    gguf: &mut Gguf,
    plan: &[Planned],
    adapter: &Adapter,
    shards: &mut Shards,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<GroupReport>> {
    let weights = |tensor: &Planned| (tensor.rows * tensor.cols) as u64;
    let total = plan.iter().map(weights).sum();
    let (mut account, mut done) = (Account::default(), 0);
    for tensor in plan {
        let Planned { listed, group, place, rows, cols } = tensor;
        let matrix = gguf.take(&listed.name, *rows, *cols)?;
        let path = place.and_then(|place| adapter.paths.get(&place));
        let (data, sums) = merge::merged(&matrix, path, listed.format).map_err(|error| {
            let (file, tensor) = (gguf.metadata.file().to_owned(), listed.name.clone());
            IntentError::InvalidTensor { file, tensor, detail: error.to_string() }
        })?;
        drop(matrix);
        shards.write(&data)?;
        shards.write(&[0; ALIGNMENT][..data.len().next_multiple_of(ALIGNMENT) - data.len()])?;
        account.add(*group, listed.format, sums);
        done += weights(tensor);
        progress(done, total);
    }
    Ok(account.reports())
}

/// Asks what was written.
fn ask(out: &Path, files: &[PackFile], config: &IntentConfig) -> Result<Golden> {
    let answers = |exact: bool| -> Result<Vec<Vec<f32>>> {
        let total = files.iter().map(|file| file.bytes).sum();
        let mut loader = Loader::new("pack", Some(total), config.clone())?;
        for file in files {
            loader.push_file(&out.join(&file.path))?;
        }
        let (mut scorer, _) = if exact { loader.exact() } else { loader }.finish_scorer()?;
        let answer = |text: &&str| scorer.score(text, false).map(|scores| scores.log_probabilities);
        golden::DECODER.iter().map(answer).collect()
    };
    Ok(Golden::measured(&golden::DECODER, &answers(false)?, &answers(true)?))
}
