//! Files that get their name only with all of their content.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file with this mode in the directory of `path`, durably. The caller gives it that name; if it is dropped before, it is
/// removed.
///
/// # Errors
///
/// Returns the error of the operating system. Nothing is left behind.
pub(crate) fn beside(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    // Private until it is complete.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    // Not when it is created, because that depends on the umask.
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}
