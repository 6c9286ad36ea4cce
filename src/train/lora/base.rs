//! The model that an adapter is trained for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::fetch::{CATALOG, known, models_dir};
use crate::gguf::{Gguf, GgufStream, Header};
use crate::hub;
use crate::model::Architecture;
use crate::model::qwen2::{LABEL_TOKENS, Qwen2Config};
use crate::pack::manifest::hex;
use crate::tokenizer::Tokenizer;
use crate::{IntentError, Result};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// A Qwen2 model as it comes.
pub struct Base {
    /// Name of its file or folder, without extension.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Sizes.
    pub sizes: Qwen2Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its weights.
    pub gguf: Gguf,
    /// Where the engine finds it, if it is a file that the engine reads.
    pub file: Option<PathBuf>,
}

impl Base {
    /// Reads a GGUF file, or a folder in the hub's layout.
    ///
    /// # Errors
    /// `io`, and those of reading its parts.
    pub fn read(path: &Path) -> Result<Self> {
        if path.is_dir() { Self::read_folder(path) } else { Self::read_file(path) }
    }

    fn read_folder(path: &Path) -> Result<Self> {
        let model = hub::Model::read(path)?;
        let sizes = sizes(&model.header)?;
        let sha256 = model.sha256.clone();
        let whole = path.canonicalize().map_err(|error| IntentError::io(path.display(), error))?;
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::new(name, sha256, sizes, model.into_gguf(), None)
    }

    fn new(
        name: String,
        sha256: String,
        sizes: Qwen2Config,
        gguf: Gguf,
        file: Option<&Path>,
    ) -> Result<Self> {
        let tokenizer = Tokenizer::from_metadata(&gguf.metadata)?;
        Ok(Self { name, sha256, sizes, tokenizer, gguf, file: file.map(Path::to_owned) })
    }

    fn read_file(path: &Path) -> Result<Self> {
        let io = |error| IntentError::io(path.display(), error);
        let mut file = File::open(path).map_err(io)?;
        let total = file.metadata().map_err(io)?.len();
        let mut stream = GgufStream::new(&path.display().to_string(), Some(total));
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    hash.update(&chunk[..count]);
                    stream.push(&chunk[..count])?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
        stream.end()?;
        let sizes = stream.header().map(sizes).transpose()?;
        let gguf = stream.finish()?;
        let sizes = sizes.ok_or_else(|| gguf.metadata.invalid("header", "was not read"))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let sha256 = hex(&hash.finalize());
        Self::new(name, sha256, sizes, gguf, Some(path))
    }
}

impl Base {
    /// What `--base` took, as somebody else can write it: the catalog's name, else that of the file or folder.
    #[must_use]
    pub fn argument(&self) -> String {
        let file =
            self.file.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        known(&self.sha256).map(|known| known.name.into_owned()).or(file).unwrap_or_else(|| self.name.clone())
    }

    /// What PEFT looks for on the hub or on the disk: the repository of the model before it was quantized, where it is
    /// known.
    #[must_use]
    pub fn repository(&self) -> String {
        known(&self.sha256).map_or_else(|| self.argument(), |known| known.unquantized().to_owned())
    }
}

/// The sizes of a file of the architecture that adapters are for.
fn sizes(header: &Header) -> Result<Qwen2Config> {
    match Architecture::from_header(header)? {
        Architecture::Qwen2(Qwen2Config { label_rows: Some(_), .. }) => {
            let detail =
                "the file is of a classification pack, which has only the labels' rows of the output matrix";
            Err(header.metadata.unsupported(LABEL_TOKENS, detail))
        }
        Architecture::Qwen2(sizes) => Ok(sizes),
        other => {
            let detail = format!("{:?}; adapters are for \"qwen2\"", other.name());
            Err(header.metadata.unsupported("general.architecture", detail))
        }
    }
}

/// What `--base` means: a GGUF file, a folder in the hub's layout, or the name of a file that `fetch` brings.
///
/// # Errors
/// `invalid_argument` for anything else.
pub fn resolve(base: &str) -> Result<PathBuf> {
    let path = PathBuf::from(base);
    if path.is_file() || hub::Model::is_in(&path) {
        return Ok(path);
    }
    let Some(known) = CATALOG.iter().find(|artifact| artifact.name == base) else {
        let names: Vec<&str> = CATALOG.iter().map(|artifact| &*artifact.name).collect();
        let detail = format!(
            "{base:?} is no GGUF file, no folder with config.json and model.safetensors, and none of {}",
            names.join(", ")
        );
        return Err(IntentError::argument("--base", detail));
    };
    let path = models_dir()?.join(&*known.file);
    if path.is_file() {
        return Ok(path);
    }
    let detail = format!("{} is not there: relayops-intent fetch {base}", path.display());
    Err(IntentError::argument("--base", detail))
}
