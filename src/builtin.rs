//! The pack that is part of every native build, so that the first answer needs no file and no network.

use crate::Result;
use crate::loader::PackLoader;

const MANIFEST: &[u8] = include_bytes!("../models/compact/pack.json");
const MODEL: &[u8] = include_bytes!("../models/compact/model.gguf");

/// The compact pack, verified and ready to be built.
///
/// # Errors
/// As [`PackLoader::new`] and [`PackLoader::push`]; the files are compiled in, and a test loads them.
pub fn compact() -> Result<PackLoader> {
    let mut pack = PackLoader::new(MANIFEST)?;
    pack.push(0, MODEL)?;
    Ok(pack)
}
