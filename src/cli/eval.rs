//! `relayops-intent eval`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use super::model::{self, ConfigArgs};
use super::{eval_table, progress};
use crate::baselines::Baseline;
use crate::eval::cross_validation::{CrossValidation, SEEDS, cross_validate};
use crate::eval::sets::{BuiltIn, EvalSet, Labelled, calibration_half};
use crate::eval::sgr::{GuaranteedRisk, RiskTarget};
use crate::eval::{Difference, Evaluation, Evaluator, Options, compare, evaluate, report};
use crate::pack::check_threshold;
use crate::{IntentError, Result};

/// Measure models and their gate on labelled messages, with intervals.
#[derive(Args)]
pub(super) struct EvalArgs {
    /// keyword, complement-nb or a model file (GGUF, architecture qwen2); several are compared.
    #[arg(long = "model", value_name = "M", num_args = 1.., default_value = "complement-nb")]
    models: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Built-in sets [default: held-out and adversarial].
    #[arg(long = "set", value_name = "SET", num_args = 1..)]
    sets: Vec<SetName>,
    /// Evaluate on FILE, one JSON object with "text" and "intent" a line ("slice" and "group" are used if there).
    #[arg(long, value_name = "FILE")]
    jsonl: Vec<PathBuf>,
    /// Print JSON: the object of one model and one set, else {"results": [...], "differences": [...]}.
    #[arg(long)]
    json: bool,
    /// Also write DIR/report.html, one self-contained file.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Least confidence that stays local [default: the model's, 0.55].
    #[arg(long, value_name = "P", conflicts_with = "sgr_risk")]
    threshold: Option<f32>,
    /// Fit the temperature of model files too, on the calibration half of dev.jsonl (baselines always are).
    #[arg(long)]
    calibrate: bool,
    /// Choose the threshold, on the calibration half of dev.jsonl, so that at most a share R of the messages kept local
    /// is labelled wrong.
    #[arg(long, value_name = "R")]
    sgr_risk: Option<f64>,
    /// Probability that --sgr-risk fails.
    #[arg(long, value_name = "D", default_value_t = 0.05, requires = "sgr_risk")]
    sgr_delta: f64,
    /// Write the configuration in force (temperature and threshold) of the one model to FILE, for --config.
    #[arg(long, value_name = "FILE")]
    save_config: Option<PathBuf>,
    /// Fit the baselines on the splits of five seeds and print mean and spread.
    #[arg(long, conflicts_with_all = [
        "sets", "jsonl", "report", "threshold", "calibrate", "sgr_risk", "save_config", "system_prompt", "config"
    ])]
    cross_validate: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SetName {
    /// The test part of the dataset's split.
    HeldOut,
    /// Hand-written hard messages that nothing was fitted on or chosen by.
    Adversarial,
    /// Hand-written hard messages for choosing: the half of dev.jsonl that nothing is calibrated on.
    Dev,
}

impl From<SetName> for BuiltIn {
    fn from(name: SetName) -> Self {
        match name {
            SetName::HeldOut => Self::HeldOut,
            SetName::Adversarial => Self::Adversarial,
            SetName::Dev => Self::Dev,
        }
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<ExitCode> {
    if args.cross_validate {
        return cross_validation(args);
    }
    let target = check(args)?;
    let sets = sets(args)?;
    let calibration = if args.calibrate || target.is_some() { calibration_half()? } else { Vec::new() };
    let results = results(args, target, &sets, &calibration)?;
    let differences = differences(&results, &sets)?;
    if let Some(folder) = &args.report {
        let path = write_report(folder, &results, &differences)?;
        eprintln!("relayops-intent: report in {}", path.display());
    }
    let out = match (args.json, results.as_slice()) {
        (true, [result]) => json(result)?,
        (true, _) => json(&Results { results: &results, differences: &differences })?,
        (false, _) => eval_table::render(&results, &differences),
    };
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that can be refused before a model is read.
fn check(args: &EvalArgs) -> Result<Option<RiskTarget>> {
    model::check(&args.models, &args.config)?;
    if let Some(threshold) = args.threshold {
        check_threshold(threshold).map_err(|detail| IntentError::argument("--threshold", detail))?;
    }
    // Results are matched by these names.
    for (name, twice) in [
        ("--model", repeats(&args.models)),
        ("--set", repeats(&args.sets)),
        ("--jsonl", repeats(&args.jsonl)),
    ] {
        if twice {
            return Err(IntentError::argument(name, "the same one is given twice"));
        }
    }
    if args.save_config.is_some() && args.models.len() > 1 {
        return Err(IntentError::argument("--save-config", "takes one model"));
    }
    let target = args.sgr_risk.map(|risk| RiskTarget { risk, delta: args.sgr_delta });
    target.map_or(Ok(()), |target| target.check())?;
    Ok(target)
}

fn repeats<T: PartialEq>(given: &[T]) -> bool {
    given.iter().enumerate().any(|(index, one)| given[..index].contains(one))
}

fn sets(args: &EvalArgs) -> Result<Vec<EvalSet>> {
    let labels = args.config.labels()?;
    let named = if args.sets.is_empty() && args.jsonl.is_empty() {
        vec![BuiltIn::HeldOut, BuiltIn::Adversarial]
    } else {
        args.sets.iter().copied().map(BuiltIn::from).collect()
    };
    let built_in = named.into_iter().map(BuiltIn::load);
    built_in.chain(args.jsonl.iter().map(|path| EvalSet::from_jsonl(path, &labels))).collect()
}

/// One model after the other, so that only one is in memory; by set, then by model.
fn results(
    args: &EvalArgs,
    target: Option<RiskTarget>,
    sets: &[EvalSet],
    calibration: &[Labelled],
) -> Result<Vec<Evaluation>> {
    let messages = calibration.len() + sets.iter().map(|set| set.messages.len()).sum::<usize>();
    let bar = progress::bar(
        Some((args.models.len() * messages) as u64),
        "{bar:40} {pos} of {len}, {eta} left, {msg}",
    );
    let mut by_model = Vec::new();
    for name in &args.models {
        bar.set_message(model::title(name));
        by_model.push(evaluate_model(args, name, target, sets, calibration, &bar)?);
    }
    bar.finish_and_clear();
    let mut rows: Vec<_> = by_model.into_iter().map(Vec::into_iter).collect();
    Ok((0..sets.len()).flat_map(|_| rows.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect())
}

fn evaluate_model(
    args: &EvalArgs,
    name: &str,
    target: Option<RiskTarget>,
    sets: &[EvalSet],
    calibration: &[Labelled],
    bar: &ProgressBar,
) -> Result<Vec<Evaluation>> {
    let mut evaluator = Evaluator::new(model::title(name), model::open(name, &args.config)?);
    evaluator.read(calibration, || bar.inc(1))?;
    if args.calibrate {
        evaluator.calibrate(calibration)?;
    }
    if let Some(threshold) = args.threshold {
        evaluator.set_calibration(evaluator.config().temperature, threshold)?;
    }
    let guarantee = target.map(|target| guarantee(&mut evaluator, calibration, target)).transpose()?;
    if let Some(path) = &args.save_config {
        let text = format!("{}\n", json(evaluator.config())?);
        std::fs::write(path, text).map_err(|error| IntentError::io(path.display(), error))?;
    }
    let options = Options { guarantee, ..Options::default() };
    let mut results = Vec::new();
    for set in sets {
        evaluator.read(&set.messages, || bar.inc(1))?;
        results.push(evaluate(&evaluator, set, options)?);
    }
    Ok(results)
}

fn guarantee(
    evaluator: &mut Evaluator,
    calibration: &[Labelled],
    target: RiskTarget,
) -> Result<GuaranteedRisk> {
    evaluator.guarantee(calibration, target)?.ok_or_else(|| {
        IntentError::Unavailable(format!(
            "{}: no threshold keeps the risk under {} with probability {} on {} messages; allow a higher risk, or set --threshold",
            evaluator.name(),
            target.risk,
            1.0 - target.delta,
            calibration.len()
        ))
    })
}

/// Each model less each one before it, set by set.
fn differences(results: &[Evaluation], sets: &[EvalSet]) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (set, results) in sets.iter().zip(results.chunk_by(|a, b| a.set == b.set)) {
        for (index, model) in results.iter().enumerate() {
            for baseline in &results[..index] {
                differences.push(compare(model, baseline, set, model.bootstrap)?);
            }
        }
    }
    Ok(differences)
}

fn write_report(folder: &Path, results: &[Evaluation], differences: &[Difference]) -> Result<PathBuf> {
    let path = folder.join("report.html");
    let html = report::html(results, differences)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, html))
        .map_err(|error| IntentError::io(path.display(), error))?;
    Ok(path)
}

#[derive(Serialize)]
struct Results<'a> {
    results: &'a [Evaluation],
    differences: &'a [Difference],
}

fn cross_validation(args: &EvalArgs) -> Result<ExitCode> {
    let baselines: Vec<Baseline> = args.models.iter().map(|name| fitted(name)).collect::<Result<_>>()?;
    let bar =
        progress::bar(Some((baselines.len() * SEEDS.len()) as u64), "{bar:40} split {pos} of {len}, {msg}");
    let mut results: Vec<CrossValidation> = Vec::new();
    for baseline in baselines {
        bar.set_message(baseline.name());
        results.extend(cross_validate(baseline.name(), |train| {
            bar.inc(1);
            baseline.fit(train)
        })?);
    }
    bar.finish_and_clear();
    let out = if args.json {
        json(&serde_json::json!({ "seeds": SEEDS, "results": results }))?
    } else {
        eval_table::cross_validation(&results)
    };
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn fitted(name: &str) -> Result<Baseline> {
    let refused = |_| {
        IntentError::argument("--cross-validate", format!("{name} is not fitted here, only baselines are"))
    };
    name.parse().map_err(refused)
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| IntentError::Inference(error.to_string()))
}

fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|error| IntentError::io("standard output", error))
}
