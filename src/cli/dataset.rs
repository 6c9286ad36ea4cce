//! `relayops-intent dataset`

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output;
use crate::dataset::{
    self, Corpus, Example, Files, NEAR_ONE_IN, QUOTED_WORDS, Report, SEED, Source, Splits, WHOLE_WORDS,
};
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// Build the dataset, check it, and write its splits.
///
/// Writes train.jsonl, val.jsonl and test.jsonl, and the same as conversations in chat/. Without --out it only builds
/// and checks.
#[derive(Args)]
pub(super) struct DatasetArgs {
    /// Folder for the files; made where it is missing, its files of these names are replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What the command reports.
#[derive(Serialize)]
struct Summary {
    examples: usize,
    seed: u64,
    counts: Vec<Count>,
    /// Of the messages drawn from families.
    noise_share: f64,
    /// Above this similarity two messages are near each other.
    near_above: f64,
    quoted_words: usize,
    whole_words: usize,
    /// Messages of `extra.jsonl` that may be trained on beside this split.
    extra_for_split: usize,
    #[serde(flatten)]
    report: Report,
    files: Vec<Output>,
}

/// Examples of one intent and source in train, val and test.
#[derive(Serialize)]
struct Count {
    intent: String,
    source: Source,
    splits: [usize; 3],
}

/// A file, written or not.
#[derive(Serialize)]
struct Output {
    file: String,
    lines: usize,
    sha256: String,
    #[serde(skip)]
    text: String,
}

pub(super) fn run(args: &DatasetArgs) -> Result<ExitCode> {
    let corpus = Corpus::read(&Files::EMBEDDED)?;
    let built = corpus.build()?;
    let examples: Vec<Example> = built.iter().map(|line| line.value.clone()).collect();
    let splits = dataset::split(&examples, SEED);
    let report = dataset::checks(&corpus, &built, &splits)?;
    let summary = summary(&examples, &splits, report)?;
    if let Some(folder) = &args.out {
        for output in &summary.files {
            output::write(&folder.join(&output.file), &output.text)?;
        }
    }
    let text = if args.json {
        serde_json::to_string(&summary).map_err(|error| IntentError::data("summary", error))? + "\n"
    } else {
        table(&summary, args.out.as_deref())
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| IntentError::io("standard output", error))?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn summary(examples: &[Example], splits: &Splits, report: Report) -> Result<Summary> {
    let of = |source| examples.iter().filter(|example| example.source == source).count();
    let noisy = of(Source::TemplateNoise);
    Ok(Summary {
        examples: examples.len(),
        seed: SEED,
        counts: counts(splits),
        noise_share: noisy as f64 / (noisy + of(Source::Template)) as f64,
        near_above: 1.0 / NEAR_ONE_IN as f64,
        quoted_words: QUOTED_WORDS,
        whole_words: WHOLE_WORDS,
        extra_for_split: dataset::extra_for(splits)?.len(),
        report,
        files: outputs(splits)?,
    })
}

fn counts(splits: &Splits) -> Vec<Count> {
    let mut counts = Vec::new();
    for intent in IntentConfig::default().labels {
        for source in [Source::Seed, Source::Template, Source::TemplateNoise] {
            let splits = splits.parts().map(|(_, part)| {
                part.iter().filter(|example| example.intent == intent && example.source == source).count()
            });
            counts.push(Count { intent: intent.clone(), source, splits });
        }
    }
    counts
}

fn outputs(splits: &Splits) -> Result<Vec<Output>> {
    let config = IntentConfig::default();
    let mut outputs = Vec::new();
    for (name, part) in splits.parts() {
        outputs.push(listed(format!("{name}.jsonl"), dataset::jsonl(part)?));
    }
    for (name, part) in splits.parts() {
        outputs.push(listed(format!("chat/{name}.jsonl"), dataset::chat_jsonl(part, &config)?));
    }
    Ok(outputs)
}

fn listed(file: String, text: String) -> Output {
    Output { file, lines: text.lines().count(), sha256: dataset::sha256(text.as_bytes()), text }
}

fn table(summary: &Summary, out: Option<&Path>) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(format!("{:<14} {:<15} {:>6} {:>6} {:>6} {:>6}", "intent", "source", "train", "val", "test", "all"));
    let row = |intent: &str, source: &str, splits: [usize; 3]| {
        let [train, val, test] = splits;
        format!("{intent:<14} {source:<15} {train:>6} {val:>6} {test:>6} {:>6}", train + val + test)
    };
    for count in &summary.counts {
        line(row(&count.intent, count.source.name(), count.splits));
    }
    line(row("all", "", summary.report.splits.sizes));
    line(row("groups", "", summary.report.splits.groups));
    text + &notes(summary, out)
}

fn notes(summary: &Summary, out: Option<&Path>) -> String {
    let Report { families, expansions, messages: [extra, adversarial, dev], splits, leaks } = &summary.report;
    let used: Vec<String> =
        families.iter().map(|(intent, (used, all))| format!("{intent} {used}/{all}")).collect();
    let near = summary.near_above;
    let mut text = format!("\nsplit seed      {}\n", summary.seed);
    // Writing to a string can't fail.
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<15} {value}");
    line("families used", format!("{} (they can give {expansions} messages)", used.join(", ")));
    line("noise", format!("{:.1}% of the messages drawn from families", summary.noise_share * 100.0));
    line("near", format!("above {near:.2}, Jaccard index of character trigrams"));
    line("across splits", format!("at most {:.3}", splits.max_similarity));
    line(
        "leaks",
        format!(
            "none, nor {QUOTED_WORDS} words in a row shared, nor a whole message of {WHOLE_WORDS} words or more held; {} training messages against {adversarial} adversarial: at most {:.3}, against {dev} dev: {:.3}; \
             dev against adversarial: {:.3}",
            leaks.training, leaks.training_adversarial, leaks.training_dev, leaks.dev_adversarial
        ),
    );
    line(
        "extra",
        format!("{extra} further training messages, {} of them beside this split", summary.extra_for_split),
    );
    let written = if out.is_some() { "written" } else { "not written (no --out)" };
    line("files", written.to_owned());
    for output in &summary.files {
        line(&output.file, format!("{:>5} lines  sha256 {}", output.lines, output.sha256));
    }
    text
}
