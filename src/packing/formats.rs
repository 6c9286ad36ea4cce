//! Which tensors take which format, and what rounding costs.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use crate::quant::{Format, QuantMatrix};
use crate::{IntentError, Result};

/// Tensors that share a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The token embedding.
    Embedding,
    /// Position and token type embeddings of an encoder.
    Positions,
    /// q, k, v and output projections.
    Attention,
    /// The matrices of the feed-forward layers: both of an encoder, gate and up of a decoder.
    FeedForward,
    /// The matrix out of a decoder's feed-forward layer, whose rows are longer than all others.
    Down,
    /// The matrix over the labels, or the labels' rows of a decoder's output matrix.
    Head,
    /// Norms and biases, always floats.
    Vectors,
}

impl Group {
    /// Name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Positions => "positions",
            Self::Attention => "attention",
            Self::FeedForward => "feed-forward",
            Self::Down => "down",
            Self::Head => "head",
            Self::Vectors => "vectors",
        }
    }
}

/// Name of a format, as the command line has it.
#[must_use]
pub const fn format_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "f32",
        Format::F16 => "f16",
        Format::Q4_0 => "q4_0",
        Format::Q5_0 => "q5_0",
        Format::Q8_0 => "q8_0",
        Format::Q4K => "q4_k",
        Format::Q6K => "q6_k",
    }
}

/// What rows of `cols` values get where `asked` is asked for: K formats need rows of whole blocks of 256, and where
/// there are none the next format with more bits is taken (q5_0 for q4_k, q8_0 for q6_k); floats where rows are no
/// whole blocks of 32 either.
#[must_use]
pub fn fitting(asked: Format, cols: usize) -> Format {
    let fallback = match asked {
        Format::Q4K => Format::Q5_0,
        Format::Q6K => Format::Q8_0,
        other => other,
    };
    let fits = |format: &Format| format.row_bytes(cols).is_some();
    [asked, fallback].into_iter().find(fits).unwrap_or(Format::F32)
}

/// The format that is asked for each group of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats(BTreeMap<Group, Format>);

impl Default for Formats {
    /// Those of an encoder: 4 bits where most weights are, more where they are few and matter more.
    fn default() -> Self {
        use Format::{F32, Q4_0, Q5_0, Q8_0};
        Self(BTreeMap::from([
            (Group::Embedding, Q4_0),
            (Group::Positions, Q8_0),
            (Group::Attention, Q5_0),
            (Group::FeedForward, Q4_0),
            (Group::Head, F32),
            (Group::Vectors, F32),
        ]))
    }
}

impl Formats {
    /// Those of a decoder: 4 bits for all that is large.
    #[must_use]
    pub fn decoder() -> Self {
        use Format::{F32, Q4_0};
        Self(BTreeMap::from([
            (Group::Embedding, Q4_0),
            (Group::Attention, Q4_0),
            (Group::FeedForward, Q4_0),
            (Group::Down, Q4_0),
            (Group::Head, F32),
            (Group::Vectors, F32),
        ]))
    }

    /// The same with what `text` changes: `group=format,group=format`. A format alone, which comes first, is for every
    /// group but the head, which is small; so `f32` rounds nothing.
    ///
    /// # Errors
    /// `invalid_argument` for a group that the architecture does not have or a format that is not known.
    pub fn changed(mut self, text: &str) -> Result<Self> {
        let fault = |detail: String| Err(IntentError::argument("--quant", detail));
        for (index, part) in text.split(',').enumerate() {
            let Some((group, format)) = part.split_once('=') else {
                if index > 0 {
                    return fault(format!("{part:?} is not GROUP=FORMAT; a format alone comes first"));
                }
                let format = parse_format(part)?;
                let large = |group: &Group| !matches!(group, Group::Head | Group::Vectors);
                self.0.iter_mut().filter(|(group, _)| large(group)).for_each(|(_, slot)| *slot = format);
                continue;
            };
            let known = self.0.iter_mut().find(|(known, _)| known.name() == group);
            match known.filter(|(known, _)| **known != Group::Vectors) {
                Some((_, slot)) => *slot = parse_format(format)?,
                None => {
                    let names: Vec<&str> =
                        self.0.keys().filter(|g| **g != Group::Vectors).map(|g| g.name()).collect();
                    return fault(format!("{group:?} is none of {}", names.join(", ")));
                }
            }
        }
        Ok(self)
    }

    /// The format of rows of `cols` values in `group`.
    pub(super) fn of(&self, group: Group, cols: usize) -> Format {
        fitting(self.0.get(&group).copied().unwrap_or(Format::F32), cols)
    }
}

impl fmt::Display for Formats {
    /// As [`Formats::changed`] reads it, every group named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().filter(|(group, _)| **group != Group::Vectors);
        let parts = named.map(|(group, format)| format!("{}={}", group.name(), format_name(*format)));
        f.write_str(&parts.collect::<Vec<_>>().join(","))
    }
}

fn parse_format(name: &str) -> Result<Format> {
    Format::ALL.into_iter().find(|known| format_name(*known) == name).ok_or_else(|| {
        let names = Format::ALL.map(format_name).join(", ");
        IntentError::argument("--quant", format!("{name:?} is none of the formats {names}"))
    })
}

impl FromStr for Formats {
    type Err = IntentError;

    /// [`Formats::default`] with what the text changes.
    fn from_str(text: &str) -> Result<Self> {
        Self::default().changed(text)
    }
}

/// What became of the tensors of one group that have one format.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReport {
    /// The group.
    pub group: Group,
    /// The format.
    pub format: Format,
    /// Weights.
    pub weights: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Root of the mean squared rounding error.
    pub rmse: f64,
    /// That error over the root of the mean squared weight.
    pub relative: f64,
}

/// Sums for a [`GroupReport`].
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Sums {
    weights: u64,
    bytes: u64,
    error: f64,
    square: f64,
}

impl Sums {
    /// Those of `values`, row-major, which became `matrix`.
    pub(super) fn of(matrix: &QuantMatrix, values: &[f32]) -> Self {
        let mut sums = Self { weights: values.len() as u64, bytes: matrix.bytes() as u64, ..Self::default() };
        let mut row = vec![0.0; matrix.cols()];
        for (r, values) in values.chunks_exact(matrix.cols()).enumerate() {
            matrix.dequantize_row(r, &mut row);
            for (stored, value) in row.iter().zip(values) {
                sums.error += f64::from(stored - value).powi(2);
                sums.square += f64::from(*value).powi(2);
            }
        }
        sums
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.bytes += other.bytes;
        self.error += other.error;
        self.square += other.square;
    }
}

/// Sums by group and format.
#[derive(Debug, Default)]
pub(super) struct Account(BTreeMap<(Group, Format), Sums>);

impl Account {
    pub(super) fn add(&mut self, group: Group, format: Format, sums: Sums) {
        *self.0.entry((group, format)).or_default() += sums;
    }

    pub(super) fn reports(&self) -> Vec<GroupReport> {
        let report = |((group, format), sums): (&(Group, Format), &Sums)| {
            let rmse = (sums.error / sums.weights as f64).sqrt();
            GroupReport {
                group: *group,
                format: *format,
                weights: sums.weights,
                bytes: sums.bytes,
                rmse,
                relative: if sums.square > 0.0 { (sums.error / sums.square).sqrt() } else { 0.0 },
            }
        };
        self.0.iter().map(report).collect()
    }
}
