//! Files that are written whole.

use std::io::Write;
use std::path::Path;

use crate::{IntentError, Result};

/// Writes a file so that its name never stands for half of it; its folder is made where it is missing.
///
/// # Errors
/// `io` naming the file; what stood there before is untouched then.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let io = |error| IntentError::io(path.display(), error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut builder = tempfile::Builder::new();
    // Such files are private by default; this one is meant for others as far as the umask lets them.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
