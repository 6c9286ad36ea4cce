//! `relayops-intent eval`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use super::model::{self, COMPACT, ConfigArgs};
use super::{eval_table, output, progress, sweep_table};
use crate::adapter::{AdapterFiles, Digests, INTENT, Intent};
use crate::baselines::Baseline;
use crate::dataset::CalibrationPart;
use crate::eval::cross_validation::{CrossValidation, SEEDS, cross_validate};
use crate::eval::sets::{BuiltIn, EvalSet, calibration};
use crate::eval::sgr::RiskTarget;
use crate::eval::{Difference, Evaluation, Evaluator, GateFigures, Options, compare, evaluate, report};
use crate::loader::golden_of_adapter;
use crate::pack::{CascadeConfig, IntentConfig};
use crate::packing::figures::condense;
use crate::{IntentError, Result};

/// Measure models and their gate on labelled messages, with intervals.
#[derive(Args)]
pub(super) struct EvalArgs {
    /// compact, cascade (with --then), keyword, complement-nb, a pack's folder or a model file (GGUF); several are
    /// compared.
    #[arg(long = "model", value_name = "M", num_args = 1.., default_value = COMPACT,
        default_value_if("cross_validate", "true", "complement-nb"))]
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
    /// Least confidence that stays local [default: the model's, 0.55]. For a cascade one for all its stages, or one
    /// each.
    #[arg(long, value_name = "P[,P]", value_delimiter = ',', conflicts_with = "sgr_risk")]
    threshold: Vec<f32>,
    /// Also print the gate's figures at several thresholds, for a cascade at several of each stage.
    #[arg(long)]
    sweep: bool,
    /// Choose the thresholds, on the messages of dev.jsonl whose id leaves 2 when divided by 4, that keep most messages
    /// local with the right label while at most a share R of those that must escalate stays local; prints the table of
    /// others too, and what the chosen ones do on the messages of each set that they were not chosen on.
    #[arg(long, value_name = "R", conflicts_with_all = ["threshold", "sgr_risk"])]
    max_unsafe: Option<f64>,
    /// Fit the temperature of model files too, on the messages of dev.jsonl whose id 4 divides (baselines always are).
    #[arg(long)]
    calibrate: bool,
    /// Choose the threshold, on the other messages of dev.jsonl with even ids, so that at most a share R of the messages
    /// kept local is labelled wrong, for messages like those. Where nothing can be promised the threshold stays.
    #[arg(long, value_name = "R")]
    sgr_risk: Option<f64>,
    /// Probability that --sgr-risk fails.
    #[arg(long, value_name = "D", default_value_t = 0.05, requires = "sgr_risk")]
    sgr_delta: f64,
    /// Write the configuration in force (temperature and threshold) of the one model file to FILE, for --config, once
    /// all went well.
    #[arg(long, value_name = "FILE")]
    save_config: Option<PathBuf>,
    /// Write the figures, and the temperature and threshold in force, of the one model file with --adapter into the
    /// adapter's intent.json, once all went well. They are to be those of its own base on built-in sets. Of a cascade its
    /// thresholds alone, which then hold wherever the adapter comes after this compact; another temperature or threshold
    /// of the adapter removes them.
    #[arg(long, requires = "adapter", conflicts_with_all = ["force_adapter", "jsonl"])]
    record: bool,
    /// Fit the baselines on the splits of five seeds and print mean and spread.
    #[arg(long, conflicts_with_all = [
        "sets", "jsonl", "report", "threshold", "sweep", "max_unsafe", "calibrate", "sgr_risk", "save_config",
        "record", "system_prompt", "config", "then"
    ])]
    cross_validate: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SetName {
    /// The test part of the dataset's split.
    HeldOut,
    /// Hand-written hard messages that nothing was fitted on, and no weights were chosen by.
    Adversarial,
    /// Hand-written hard messages for choosing: the half of dev.jsonl that nothing is calibrated on.
    Dev,
    /// The other half, which temperatures and thresholds are fitted on: flatters what was fitted here.
    DevCalibrate,
}

impl From<SetName> for BuiltIn {
    fn from(name: SetName) -> Self {
        match name {
            SetName::HeldOut => Self::HeldOut,
            SetName::Adversarial => Self::Adversarial,
            SetName::Dev => Self::Dev,
            SetName::DevCalibrate => Self::DevCalibrate,
        }
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<ExitCode> {
    if args.cross_validate {
        return cross_validation(args);
    }
    let target = check(args)?;
    let sets = sets(args)?;
    let finished = Job::new(args, target, &sets)?.run()?;
    let Finished { results, failures, .. } = &finished;
    let differences = differences(results, &sets)?;
    if let Some(folder) = &args.report {
        let path = write_report(folder, results, &differences)?;
        eprintln!("relayops-intent: report in {}", path.display());
    }
    let out = match (args.json, results.as_slice()) {
        (true, [result]) => json(result)?,
        (true, _) => json(&Results { results, differences: &differences })?,
        (false, _) => [eval_table::render(results, &differences), sweep_table::render(results)].concat(),
    };
    print(&out)?;
    for result in results.iter().filter(|result| result.set == results[0].set) {
        if let Some(guarantee) = result.gate.guarantee.as_ref().filter(|guarantee| !guarantee.found) {
            eprintln!("relayops-intent: {}: {guarantee}", result.model);
        }
        if let Some(choice) = result.gate.choice.as_ref().filter(|choice| !choice.found) {
            eprintln!("relayops-intent: {}: {choice}", result.model);
        }
    }
    for failure in failures {
        eprintln!("relayops-intent: {failure}");
    }
    save(args, &finished)
}

/// Writes the configuration and the figures, if they were asked for and can be vouched for.
fn save(args: &EvalArgs, finished: &Finished) -> Result<ExitCode> {
    let Finished { results, configs, failures, .. } = finished;
    let scored = failures.is_empty();
    let code = if scored { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let adapter = args.config.adapter_folder().filter(|_| args.record).map(|folder| folder.join(INTENT));
    let asked = args.save_config.iter().chain(&adapter);
    let Some(config) = configs.first().filter(|_| asked.clone().next().is_some()) else { return Ok(code) };
    let promised = results.iter().all(|result| {
        let GateFigures { guarantee, choice, .. } = &result.gate;
        guarantee.as_ref().is_none_or(|g| g.found) && choice.as_ref().is_none_or(|choice| choice.found)
    });
    if scored && promised {
        if let Some(path) = &args.save_config {
            output::write(path, &format!("{}\n", json(config)?))?;
        }
        if let Some((path, files)) = adapter.as_ref().zip(args.config.adapter()?) {
            output::write(path, &record(args, path, &files, finished)?.to_json()?)?;
        }
        return Ok(code);
    }
    let why = if scored { "no threshold was found as asked for" } else { "messages could not be scored" };
    for path in asked {
        eprintln!("relayops-intent: {} is not written: {why}", path.display());
    }
    Ok(ExitCode::FAILURE)
}

/// The adapter's `intent.json` with what was measured: of a cascade its thresholds, else figures and calibration. Digests
/// and golden answers are of today's files and engine.
fn record(args: &EvalArgs, path: &Path, files: &AdapterFiles, finished: &Finished) -> Result<Intent> {
    let missing = || IntentError::argument("--record", format!("{} is not there", path.display()));
    let mut intent = files.intent().ok_or_else(missing)?.clone();
    let base = match finished.cascades.first() {
        Some(cascade) => {
            intent.config.cascade = Some(cascade.clone());
            args.config.then()
        }
        None => {
            intent.figures = condense(&serde_json::json!({ "results": finished.results }));
            let had = intent.config.cascade.is_some();
            if let Some(config) = finished.configs.first() {
                intent.config = config.clone();
            }
            if had && intent.config.cascade.is_none() {
                eprintln!(
                    "relayops-intent: the adapter's thresholds of a cascade are removed, which were chosen for other \
                     confidences; choose them anew with --model cascade --max-unsafe R --record"
                );
            }
            args.models.first().map(String::as_str)
        }
    };
    let texts: Vec<&str> = intent.golden.vectors.iter().map(|vector| vector.text.as_str()).collect();
    if let Some(base) = base {
        intent.golden =
            golden_of_adapter(Path::new(base), &intent.config, &texts, |sizes| files.adapter(sizes))?;
    }
    Ok(Intent { files: Some(Digests::of(&files.config, &files.tensors)), ..intent })
}

/// Everything that can be refused before a model is read.
fn check(args: &EvalArgs) -> Result<Option<RiskTarget>> {
    model::check(&args.models, &args.config)?;
    model::check_thresholds(&args.models, &args.threshold)?;
    if let Some(rate) = args.max_unsafe.filter(|rate| !(0.0..=1.0).contains(rate)) {
        return Err(IntentError::argument("--max-unsafe", format!("{rate} is not between 0 and 1")));
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
    let saving = [("--save-config", args.save_config.is_some()), ("--record", args.record)];
    for (option, _) in saving.into_iter().filter(|(_, given)| *given) {
        let [name] = &args.models[..] else { return Err(IntentError::argument(option, "takes one model")) };
        let records = option == "--record" && model::is_cascade(name);
        if !(records || model::is_configurable(name)?) {
            let detail = format!("{name} takes no --config, so there is none to save; only model files do");
            return Err(IntentError::argument(option, detail));
        }
    }
    if args.record && args.calibrate && args.models.iter().any(|name| model::is_cascade(name)) {
        let detail = "does not go with --record for a cascade, whose temperatures are those of its models";
        return Err(IntentError::argument("--calibrate", detail));
    }
    if args.sgr_risk.is_some() {
        model::refuse_cascade(&args.models, "--sgr-risk")?;
    }
    let target = args.sgr_risk.map(|risk| RiskTarget { risk, delta: args.sgr_delta });
    target.map_or(Ok(()), |target| target.check())?;
    Ok(target)
}

fn repeats<T: PartialEq>(given: &[T]) -> bool {
    given.iter().enumerate().any(|(index, one)| given[..index].contains(one))
}

fn sets(args: &EvalArgs) -> Result<Vec<EvalSet>> {
    let labels = model::labels(&args.models, &args.config)?;
    let own = labels != IntentConfig::default().labels;
    if own && (!args.sets.is_empty() || args.jsonl.is_empty()) {
        let detail =
            "the built-in sets have other labels than the model; give messages of its own with --jsonl";
        return Err(IntentError::argument("--set", detail));
    }
    let named = if args.sets.is_empty() && args.jsonl.is_empty() {
        vec![BuiltIn::HeldOut, BuiltIn::Adversarial]
    } else {
        args.sets.iter().copied().map(BuiltIn::from).collect()
    };
    let built_in = named.into_iter().map(BuiltIn::load);
    let files = args.jsonl.iter().map(|path| EvalSet::from_jsonl(path, &labels));
    let sets: Vec<EvalSet> = built_in.chain(files).collect::<Result<_>>()?;
    let names: Vec<&String> = sets.iter().map(|set| &set.name).collect();
    if repeats(&names) {
        return Err(IntentError::argument(
            "--jsonl",
            "is named like a built-in set; give it with its folder",
        ));
    }
    Ok(sets)
}

/// What is to be done with each model.
struct Job<'a> {
    args: &'a EvalArgs,
    target: Option<RiskTarget>,
    sets: &'a [EvalSet],
    /// What the temperature is fitted on, where it is.
    temperature: Option<EvalSet>,
    /// What thresholds are chosen on, where they are: other messages.
    threshold: Option<EvalSet>,
}

/// What came of it.
#[derive(Default)]
struct Finished {
    /// By set, then by model.
    results: Vec<Evaluation>,
    /// In force, of each model.
    configs: Vec<IntentConfig>,
    /// Thresholds in force of each that is a cascade.
    cascades: Vec<CascadeConfig>,
    /// Counts of messages that models failed on, in words.
    failures: Vec<String>,
}

impl<'a> Job<'a> {
    fn new(args: &'a EvalArgs, target: Option<RiskTarget>, sets: &'a [EvalSet]) -> Result<Self> {
        let sample = |wanted: bool, part| wanted.then(|| calibration(part)).transpose();
        Ok(Self {
            args,
            target,
            sets,
            temperature: sample(args.calibrate, CalibrationPart::Temperature)?,
            threshold: sample(target.is_some() || args.max_unsafe.is_some(), CalibrationPart::Threshold)?,
        })
    }

    /// All messages that a model is asked about.
    fn asked(&self) -> impl Iterator<Item = &EvalSet> {
        self.temperature.iter().chain(&self.threshold).chain(self.sets)
    }

    /// One model after the other, so that only one is in memory.
    fn run(&self) -> Result<Finished> {
        let messages: usize = self.asked().map(|set| set.messages.len()).sum();
        let models = &self.args.models;
        let bar = progress::bar(
            Some((models.len() * messages) as u64),
            "{bar:40} {pos} of {len}, {eta} left, {msg}",
        );
        let mut finished = Finished::default();
        let mut by_model = Vec::new();
        for (name, title) in models.iter().zip(model::titles(models)) {
            bar.set_message(title.clone());
            by_model.push(self.evaluate(name, &title, &bar, &mut finished)?.into_iter());
        }
        bar.finish_and_clear();
        for _ in self.sets {
            finished.results.extend(by_model.iter_mut().filter_map(Iterator::next));
        }
        Ok(finished)
    }

    fn evaluate(
        &self,
        name: &str,
        title: &str,
        bar: &ProgressBar,
        finished: &mut Finished,
    ) -> Result<Vec<Evaluation>> {
        let mut evaluator = model::evaluator(name, title, &self.args.config)?;
        if let Some(sample) = &self.temperature {
            evaluator.read(&sample.messages, || bar.inc(1))?;
            evaluator.calibrate(sample)?;
        }
        if !self.args.threshold.is_empty() {
            evaluator.set_thresholds(&self.args.threshold)?;
        }
        if let (Some(sample), Some(target)) = (&self.threshold, self.target) {
            evaluator.read(&sample.messages, || bar.inc(1))?;
            evaluator.guarantee(sample, target)?;
        }
        if let (Some(sample), Some(rate)) = (&self.threshold, self.args.max_unsafe) {
            evaluator.read(&sample.messages, || bar.inc(1))?;
            evaluator.choose(sample, rate)?;
        }
        for set in self.sets {
            evaluator.read(&set.messages, || bar.inc(1))?;
        }
        for set in self.asked() {
            finished.failures.extend(failures(&evaluator, set)?);
        }
        finished.configs.push(evaluator.config().clone());
        finished.cascades.extend(evaluator.cascade_config());
        let options = Options { sweep: self.args.sweep, ..Options::default() };
        self.sets.iter().map(|set| evaluate(&evaluator, set, options)).collect()
    }
}

/// How many messages of a set a model failed on, and how.
fn failures(evaluator: &Evaluator, set: &EvalSet) -> Result<Option<String>> {
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    let answers = evaluator.answers(&set.messages)?;
    for answered in answers.into_iter().filter(|answered| answered.outcome.predicted.is_none()) {
        *codes.entry(answered.classification.decision.reason).or_default() += 1;
    }
    let failed: usize = codes.values().sum();
    let codes: Vec<String> = codes.iter().map(|(code, n)| format!("{n} {code}")).collect();
    Ok((failed > 0).then(|| {
        let (name, n, set, codes) = (evaluator.name(), set.messages.len(), &set.name, codes.join(", "));
        format!("{name}: {failed} of {n} messages of {set} could not be scored ({codes})")
    }))
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
    output::write(&path, &report::html(results, differences)?)?;
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
