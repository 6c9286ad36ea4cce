//! Models on this machine's GPU.

use futures_util::FutureExt;

use crate::backend::gpu::Gpu;
use crate::classifier::Classifier;
use crate::loader::{Loader, PackLoader};
use crate::{IntentError, Result};

fn open() -> Result<Gpu> {
    // Natively nothing of it waits.
    let late = || Err(IntentError::Unavailable("the GPU did not open at once".to_owned()));
    Gpu::open().now_or_never().unwrap_or_else(late)
}

/// Builds a model file's classifier.
pub(super) fn finish_file(loader: Loader) -> Result<Classifier> {
    loader.on(open()?).finish()
}

/// Builds a pack's classifier.
pub(super) fn finish_pack(loader: PackLoader) -> Result<Classifier> {
    loader.on(open()?).finish()
}
