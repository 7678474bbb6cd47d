//! Directories that only our user can enter.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::owners::{Offences, check_owners};

/// Error of making a private directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateDirectoryError {
    /// The directory, or one above it, could not be created.
    #[error("{path} cannot be made", path = .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another user could write to the directory, or exchange it.
    #[error(transparent)]
    Owners(#[from] Offences),
}

/// Makes the directory at `path` and those above it, as far as they are absent, with mode 0700, and checks which users can write to
/// them. An existing directory keeps its mode.
///
/// # Errors
///
/// Returns [`PrivateDirectoryError::Create`] if a directory cannot be made, and [`PrivateDirectoryError::Owners`] if other
/// users could write to it.
pub fn create_private_directory(path: &Path) -> Result<(), PrivateDirectoryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PrivateDirectoryError::Create {
            path: path.into(),
            source,
        })?;
    Ok(check_owners(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn new_directories_are_private_and_a_shared_one_is_refused() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("a/b");
        create_private_directory(&path).expect("made");
        create_private_directory(&path).expect("an existing one is fine");
        for directory in [root.path().join("a"), path.clone()] {
            let mode = fs::metadata(directory)
                .expect("metadata")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("the mode");
        assert!(matches!(
            create_private_directory(&path),
            Err(PrivateDirectoryError::Owners(_))
        ));
        fs::write(root.path().join("file"), "").expect("a file");
        assert!(matches!(
            create_private_directory(&root.path().join("file")),
            Err(PrivateDirectoryError::Create { .. })
        ));
    }
}
