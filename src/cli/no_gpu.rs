//! In place of models on a GPU, in builds without the feature webgpu.

use crate::classifier::Classifier;
use crate::loader::{Loader, PackLoader};
use crate::{IntentError, Result};

fn unavailable() -> IntentError {
    IntentError::Unavailable("this program was built without the feature webgpu".to_owned())
}

/// An error that says so.
pub(super) fn finish_file(_: Loader) -> Result<Classifier> {
    Err(unavailable())
}

/// An error that says so.
pub(super) fn finish_pack(_: PackLoader) -> Result<Classifier> {
    Err(unavailable())
}
