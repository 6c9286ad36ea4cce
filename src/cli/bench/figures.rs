//! What `bench` measures, as a table's rows and as one object.

use std::fmt;

use serde::Serialize;

use crate::profile::{Part, Times};
use crate::scoring::Prefix;

/// Everything, as `--json` prints it. Rows of the table are printed as soon as they are measured.
#[derive(Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    pub load: Load,
    pub message: Messages,
    /// Peak resident memory of the process once messages were classified, where the system tells.
    pub peak_bytes: Option<u64>,
    pub throughput: Vec<Throughput>,
    #[serde(flatten)]
    pub parts: Parts,
    pub flips: Vec<Flips>,
    pub adapter: Option<Cost>,
}

/// What was loaded, and what that took.
#[derive(Serialize)]
pub(super) struct Load {
    pub model: String,
    /// The models that messages may come to, in their order.
    pub stages: Vec<Stage>,
    /// Of the last stage.
    pub backend: String,
    pub threads: usize,
    pub load_seconds: f64,
    /// The last stage's constant beginning of prompts, which is computed at load.
    pub prefix: Option<Prefix>,
    pub weight_bytes: u64,
    pub peak_at_load_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Stage {
    pub stage: String,
    pub weight_bytes: u64,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model          {}", self.model)?;
        for Stage { stage, weight_bytes } in self.stages.iter().filter(|_| self.stages.len() > 1) {
            writeln!(f, "stage          {stage}, weights {:.1} MiB", mebibytes(*weight_bytes))?;
        }
        writeln!(f, "runs on        {}, {} threads", self.backend, self.threads)?;
        writeln!(f, "load           {:.2} s", self.load_seconds)?;
        if let Some(Prefix { tokens, bytes, ms }) = self.prefix {
            let share = ms / 10.0 / self.load_seconds;
            let size = mebibytes(bytes);
            writeln!(
                f,
                "  of it prefix {ms:.1} ms, {share:.1}%: {tokens} tokens, whose KV is {size:.2} MiB"
            )?;
        }
        write!(f, "weights        {:.1} MiB", mebibytes(self.weight_bytes))?;
        match self.peak_at_load_bytes {
            Some(peak) => write!(f, "\npeak at load   {:.1} MiB", mebibytes(peak)),
            None => Ok(()),
        }
    }
}

/// Times of single messages.
#[derive(Serialize)]
pub(super) struct Messages {
    pub median_ms: f64,
    pub p10_ms: f64,
    pub p90_ms: f64,
    pub n: usize,
}

impl Messages {
    /// Of what is not empty.
    pub(super) fn new(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let [p10_ms, median_ms, p90_ms] = [0.1, 0.5, 0.9].map(|share| quantile(&ms, share));
        Self { median_ms, p10_ms, p90_ms, n: ms.len() }
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median_ms, p10_ms, p90_ms, n } = self;
        write!(f, "message, ms    median {median_ms:.1}, 10% {p10_ms:.1}, 90% {p90_ms:.1}, n = {n}")
    }
}

/// Of messages that share a pass.
#[derive(Serialize)]
pub(super) struct Throughput {
    /// So many at a time.
    pub together: usize,
    pub ms_each: f64,
    pub messages_per_second: f64,
    pub n: usize,
}

impl Throughput {
    /// `seconds` is what `messages` took, some times, which are not none.
    pub(super) fn new(together: usize, messages: usize, mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let each = quantile(&seconds, 0.5) / messages as f64;
        Self { together, ms_each: 1e3 * each, messages_per_second: 1.0 / each, n: seconds.len() }
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { together, ms_each, messages_per_second, n } = self;
        write!(
            f,
            "{together:2} together    {ms_each:.1} ms each, {messages_per_second:.1} messages a second, n = {n}"
        )
    }
}

/// Where a message's time goes.
#[derive(Serialize)]
pub(super) struct Parts {
    pub parts: Vec<Share>,
    /// Share of the time that is not spent in products of the layers.
    pub outside_matmul: f64,
}

#[derive(Serialize)]
pub(super) struct Share {
    pub part: &'static str,
    /// Of an average message.
    pub ms: f64,
    /// Of its time, 0 to 1.
    pub share: f64,
}

impl Parts {
    /// `spent` is the part of `total` seconds, which so many messages took, whose place is known.
    pub(super) fn new(messages: usize, total: f64, spent: &Times) -> Self {
        let share =
            |part, seconds: f64| Share { part, ms: 1e3 * seconds / messages as f64, share: seconds / total };
        let seconds = |part: &Part| spent[*part as usize].as_secs_f64();
        let mut parts: Vec<Share> = Part::ALL.iter().map(|part| share(part.name(), seconds(part))).collect();
        parts.push(share("all else", total - Part::ALL.iter().map(seconds).sum::<f64>()));
        let matmul: f64 = Part::ALL.iter().filter(|part| part.is_matmul()).map(seconds).sum();
        Self { parts, outside_matmul: 1.0 - matmul / total }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Share { part, ms, share } in &self.parts {
            writeln!(f, "  {part:24} {ms:8.3} ms {:5.1}%", 1e2 * share)?;
        }
        write!(f, "outside matmul {:.1}%", 1e2 * self.outside_matmul)
    }
}

/// A label that is another when the model is computed otherwise.
#[derive(Serialize)]
pub(super) struct Flip {
    pub text: String,
    pub intent: String,
    pub other: String,
    /// By which the other leads.
    pub lead: f32,
}

/// A model compared with the same model computed otherwise.
#[derive(Serialize)]
pub(super) struct Flips {
    pub against: &'static str,
    pub n: usize,
    pub labels: Vec<Flip>,
    /// Of these, where either side is sure of its own: from this probability on.
    pub confident: usize,
    pub threshold: f32,
    pub routes: usize,
    /// Between probabilities.
    pub largest_difference: f32,
}

impl fmt::Display for Flips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Flip { text, intent, other, lead } in &self.labels {
            writeln!(f, "flip           {intent} for {other}, which leads by {lead:.3}: {text}")?;
        }
        write!(
            f,
            "{:14} {} labels of {} flip, {} where either side is sure of its own (from {} on); {} routes flip; \
             probabilities differ by up to {:.3}",
            self.against,
            self.labels.len(),
            self.n,
            self.confident,
            self.threshold,
            self.routes,
            self.largest_difference
        )
    }
}

/// What an adapter adds to a message's time.
#[derive(Serialize)]
pub(super) struct Cost {
    /// Share that is added, 0.05 being 5%.
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    pub pairs: usize,
}

impl Cost {
    /// Of ratios of times, which are not none.
    pub(super) fn new(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        let [p10, median, p90] = [0.1, 0.5, 0.9].map(|share| quantile(&ratios, share) - 1.0);
        Self { median, p10, p90, pairs: ratios.len() }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p10, p90] = [self.median, self.p10, self.p90].map(|share| 1e2 * share);
        let pairs = self.pairs;
        write!(
            f,
            "adapter        {median:+.1}% of a message's time (10% {p10:+.1}, 90% {p90:+.1}, n = {pairs} pairs)"
        )
    }
}

/// Of what is sorted and not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
