//! LoRA adapters (Hu et al. 2021, arXiv 2106.09685): low-rank paths beside the matrices of a Qwen2 model.
//!
//! An adapter is a folder in the layout of Python's PEFT, [`CONFIG`] and [`TENSORS`], which any PEFT program reads and
//! writes, with [`INTENT`] beside it, which makes it a classifier: labels, prompt, calibration, and the base it is for.

mod config;
mod intent;
mod pattern;
mod projection;
mod tensors;

use std::collections::BTreeMap;

use crate::model::qwen2::Qwen2Config;
use crate::{IntentError, Result};

pub use config::AdapterConfig;
pub use intent::{BaseModel, Intent};
pub use projection::Projection;
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

/// An adapter's files, read but for the tensors, whose shapes depend on the model.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterFiles {
    /// What makes it a classifier.
    pub intent: Intent,
    /// [`CONFIG`].
    pub config: String,
    /// [`TENSORS`].
    pub tensors: Vec<u8>,
}

impl AdapterFiles {
    /// Takes the content of [`INTENT`], [`CONFIG`] and [`TENSORS`].
    ///
    /// # Errors
    /// `invalid_config` naming the file, where it is larger than [`FILES`] allows, or the field.
    pub fn new(intent: &str, config: String, tensors: Vec<u8>) -> Result<Self> {
        for ((file, most), bytes) in FILES.iter().zip([intent.len(), config.len(), tensors.len()]) {
            if bytes as u64 > *most {
                return Err(too_large(file, *most));
            }
        }
        Ok(Self { intent: Intent::from_json(intent)?, config, tensors })
    }

    /// Reads an adapter's folder.
    ///
    /// # Errors
    /// `io`, and as [`new`](Self::new).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(folder: &std::path::Path) -> Result<Self> {
        let [intent, config, tensors] = FILES.map(|(file, most)| read_at_most(&folder.join(file), most));
        let text = |file: &str, bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|error| IntentError::config(file, error.utf8_error()))
        };
        let (intent, config, tensors) = (text(INTENT, intent?)?, text(CONFIG, config?)?, tensors?);
        Self::new(&intent, config, tensors)
    }

    /// The adapter, for a model of that size.
    ///
    /// # Errors
    /// As [`Adapter::read`].
    pub fn adapter(&self, sizes: &Qwen2Config) -> Result<Adapter> {
        Adapter::read(&self.config, &self.tensors, sizes)
    }
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
        config.check_targets(&adapter, sizes)?;
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
