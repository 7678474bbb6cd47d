//! The identity of one version of a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Identifies one version of a file: a file with another content has another identity, unless its times were set back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    /// The device that holds the file.
    pub(crate) device: u64,
    /// The number of the file on that device.
    pub(crate) inode: u64,
    /// The length in bytes.
    pub(crate) size: u64,
    /// The time of the last change of the content, in nanoseconds since 1970.
    pub(crate) modified_ns: i64,
}

impl FileIdentity {
    /// The identity of a file that was not recorded: no file has it.
    pub(crate) const UNKNOWN: Self = Self {
        device: 0,
        inode: 0,
        size: 0,
        modified_ns: 0,
    };

    /// Returns the identity of the file at `path`, links followed, or `None` if it cannot be examined.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|metadata| (&metadata).into())
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            // Saturates in the year 2262; until then every time has a number of its own.
            modified_ns: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewritten_or_replaced_file_has_another_identity() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("plugin");
        assert_eq!(FileIdentity::of(&path), None);
        std::fs::write(&path, "one").expect("written");
        let first = FileIdentity::of(&path).expect("an identity");
        assert_eq!(FileIdentity::of(&path), Some(first.clone()));

        let other = directory.path().join("other");
        std::fs::write(&other, "two").expect("written");
        std::fs::rename(&other, &path).expect("renamed");
        let replaced = FileIdentity::of(&path).expect("an identity");
        assert_ne!(replaced, first);
        std::fs::write(&path, "three").expect("written");
        assert_ne!(FileIdentity::of(&path), Some(replaced));
    }
}
