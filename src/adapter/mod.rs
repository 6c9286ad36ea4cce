//! LoRA adapters (Hu et al. 2021, arXiv 2106.09685): low-rank paths beside the matrices of a Qwen2 model.
//!
//! An adapter is a folder in the layout of Python's PEFT, [`CONFIG`] and [`TENSORS`], which any PEFT program reads and
//! writes, with [`INTENT`] beside it, which makes it a classifier: labels, prompt, calibration, and the base it is for.
//! One from elsewhere has no [`INTENT`]: labels and prompt are the caller's then, and it runs beside no base unasked.

mod config;
mod intent;
mod pattern;
mod projection;
mod targets;
mod tensors;

use std::collections::BTreeMap;

use crate::model::qwen2::Qwen2Config;
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

pub use config::AdapterConfig;
pub use intent::{BaseModel, Digests, Intent};
pub use projection::Projection;
pub use targets::{Layers, Targets};
pub use tensors::Precision;

/// PEFT's configuration.
pub const CONFIG: &str = "adapter_config.json";
/// PEFT's tensors.
pub const TENSORS: &str = "adapter_model.safetensors";
/// What makes an adapter a classifier.
pub const INTENT: &str = "intent.json";
/// The files of an adapter and the most bytes that each may have. The tensors of rank 64 beside all matrices of the 1.5B
/// in single precision are some 300 MB.
pub const FILES: [(&str, u64); 3] = [(INTENT, 4 << 20), (CONFIG, 1 << 20), (TENSORS, 512 << 20)];

/// One low-rank path: adds `scale * (x A') B'` to what its projection gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Rows of `A`, columns of `B`.
    pub rank: usize,
    /// Factor.
    pub scale: f32,
    /// `[rank, in]`, row-major.
    pub a: Vec<f32>,
    /// `[out, rank]`, row-major.
    pub b: Vec<f32>,
}

/// The low-rank paths of a model, by layer and projection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Adapter {
    /// The paths.
    pub paths: BTreeMap<(usize, Projection), Path>,
}

/// What an adapter is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// As its [`INTENT`] says.
    Intent(Box<Intent>),
    /// As the caller says: of an adapter from elsewhere, which has no [`INTENT`], so that neither its base nor what it
    /// must answer is known.
    Given(IntentConfig),
}

/// An adapter's files, read but for the tensors, whose shapes depend on the model.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterFiles {
    /// What it is asked.
    pub asked: Asked,
    /// [`CONFIG`].
    pub config: String,
    /// [`TENSORS`].
    pub tensors: Vec<u8>,
}

impl AdapterFiles {
    /// Takes the content of [`INTENT`], [`CONFIG`] and [`TENSORS`].
    ///
    /// # Errors
    /// `invalid_config` naming the file, where it is larger than [`FILES`] allows, or the field; `checksum` naming the
    /// file that is not the one that [`INTENT`] knows.
    pub fn new(intent: &str, config: String, tensors: Vec<u8>) -> Result<Self> {
        check_sizes([intent.len(), config.len(), tensors.len()])?;
        let intent = Intent::from_json(intent)?;
        if let Some(files) = &intent.files {
            files.check(Digests::of(&config, &tensors))?;
        }
        Ok(Self { asked: Asked::Intent(Box::new(intent)), config, tensors })
    }

    /// Takes the content of [`CONFIG`] and [`TENSORS`] of an adapter that has no [`INTENT`], and what it is asked.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_elsewhere(given: IntentConfig, config: String, tensors: Vec<u8>) -> Result<Self> {
        check_sizes([0, config.len(), tensors.len()])?;
        given.check()?;
        Ok(Self { asked: Asked::Given(given), config, tensors })
    }

    /// Reads an adapter's folder; where it has no [`INTENT`], `given` says what is asked.
    ///
    /// # Errors
    /// `io`, those of `given`, and as [`new`](Self::new).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_or(folder: &std::path::Path, given: impl FnOnce() -> Result<IntentConfig>) -> Result<Self> {
        let [intent, config, tensors] = FILES.map(|(file, most)| read_at_most(&folder.join(file), most));
        let text = |file: &str, bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|error| IntentError::config(file, error.utf8_error()))
        };
        let (config, tensors) = (text(CONFIG, config?)?, tensors?);
        match intent {
            Err(IntentError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Self::from_elsewhere(given()?, config, tensors)
            }
            intent => Self::new(&text(INTENT, intent?)?, config, tensors),
        }
    }

    /// As [`read_or`](Self::read_or), with the built-in labels and prompt.
    ///
    /// # Errors
    /// As [`read_or`](Self::read_or).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(folder: &std::path::Path) -> Result<Self> {
        Self::read_or(folder, || Ok(IntentConfig::default()))
    }

    /// What [`INTENT`] says, where there is one.
    #[must_use]
    pub fn intent(&self) -> Option<&Intent> {
        match &self.asked {
            Asked::Intent(intent) => Some(intent.as_ref()),
            Asked::Given(_) => None,
        }
    }

    /// Labels, prompt, calibration and policy.
    #[must_use]
    pub fn intent_config(&self) -> &IntentConfig {
        match &self.asked {
            Asked::Intent(intent) => &intent.config,
            Asked::Given(config) => config,
        }
    }

    /// Refuses another base than the one that the adapter was trained for, and any where that is not known. `sha256` is
    /// that of the base's weights.
    ///
    /// # Errors
    /// `wrong_base`.
    pub fn check_base(&self, sha256: Option<&str>) -> Result<()> {
        self.intent().ok_or(IntentError::UnknownBase)?.check_base(sha256)
    }

    /// The adapter, for a model of that size.
    ///
    /// # Errors
    /// As [`Adapter::read`].
    pub fn adapter(&self, sizes: &Qwen2Config) -> Result<Adapter> {
        Adapter::read(&self.config, &self.tensors, sizes)
    }
}

/// Of the files in the order of [`FILES`].
fn check_sizes(bytes: [usize; 3]) -> Result<()> {
    let mut large = FILES.iter().zip(bytes).filter(|((_, most), bytes)| *bytes as u64 > *most);
    large.next().map_or(Ok(()), |((file, most), _)| Err(too_large(file, *most)))
}

fn too_large(file: &str, most: u64) -> IntentError {
    IntentError::config(file, format!("is larger than {most} bytes"))
}

#[cfg(not(target_arch = "wasm32"))]
fn read_at_most(path: &std::path::Path, most: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let io = |error| IntentError::io(path.display(), error);
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large.
    std::fs::File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most { Err(too_large(&path.display().to_string(), most)) } else { Ok(bytes) }
}

impl Adapter {
    /// Reads [`CONFIG`] and [`TENSORS`] for a model of that size.
    ///
    /// # Errors
    /// `invalid_config` and `unsupported_model` naming the field of the configuration, `invalid_tensor` naming the tensor.
    pub fn read(config: &str, tensors: &[u8], sizes: &Qwen2Config) -> Result<Self> {
        let config = AdapterConfig::from_json(config)?;
        let adapter = tensors::read(tensors, &config, sizes)?;
        targets::check(&config, &adapter, sizes)?;
        Ok(adapter)
    }

    /// The bytes of [`TENSORS`].
    ///
    /// # Errors
    /// `invalid_tensor` where a path's matrices are not of its rank.
    pub fn to_safetensors(&self, precision: Precision) -> Result<Vec<u8>> {
        tensors::write(self, precision)
    }

    /// Numbers in all matrices.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.paths.values().map(|path| path.a.len() + path.b.len()).sum()
    }
}
