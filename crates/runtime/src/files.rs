//! Which files the daemon trusts: those that no other user and no group could have written.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a file or directory is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UntrustedFile {
    /// Other users, or the members of a group, may write to it.
    #[error("{path} can be written by {who} (mode {mode:04o}): run `chmod go-w {path}`", path = .path.display())]
    Writable {
        /// The file, or the directory on the way to it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who else can write to it.
        who: &'static str,
    },
    /// It belongs to a user who is neither ours nor root.
    #[error("{path} belongs to uid {owner}, not to us (uid {uid}) or root: only its owner's files are used", path = .path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Our own uid.
        uid: u32,
    },
    /// It could not be examined.
    #[error("{path} cannot be examined: {source}", path = .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The sticky bit: in such a directory (`/tmp`) only the owner of an entry can replace it.
const STICKY: u32 = 0o1000;

/// Checks that nobody but us and root could have written `path`, or could exchange it for another file.
///
/// The file and its directory must belong to us or root and must not be writable by a group or by others. The
/// directories above must not be writable either, unless they are sticky. Symbolic links are followed: what is
/// checked is what would be opened.
///
/// # Errors
///
/// [`UntrustedFile`] names the first path that breaks the rule, and the command that mends it.
pub(crate) fn check_trusted(path: &Path) -> Result<(), UntrustedFile> {
    let resolved = path
        .canonicalize()
        .map_err(|source| UntrustedFile::Unreadable {
            path: path.into(),
            source,
        })?;
    check_one(&resolved, Ownership::Checked)?;
    for (depth, ancestor) in resolved.ancestors().skip(1).enumerate() {
        // Above the directory itself only write permission counts: inside a container the root directory may
        // belong to an unmapped uid that nobody can act as.
        let ownership = if depth == 0 {
            Ownership::Checked
        } else {
            Ownership::Ignored
        };
        check_one(ancestor, ownership)?;
    }
    Ok(())
}

/// Whether the owner of a path matters.
#[derive(Clone, Copy, PartialEq)]
enum Ownership {
    Checked,
    Ignored,
}

fn check_one(path: &Path, ownership: Ownership) -> Result<(), UntrustedFile> {
    let metadata = path
        .metadata()
        .map_err(|source| UntrustedFile::Unreadable {
            path: path.into(),
            source,
        })?;
    let mode = metadata.mode() & 0o7777;
    let sticky_directory = metadata.is_dir() && mode & STICKY != 0;
    if !sticky_directory {
        let who = match mode & 0o022 {
            0 => None,
            0o020 => Some("its group"),
            _ => Some("other users"),
        };
        if let Some(who) = who {
            return Err(UntrustedFile::Writable {
                path: path.into(),
                mode,
                who,
            });
        }
    }
    let uid = rustix::process::geteuid().as_raw();
    // In a sticky directory another owner's entry cannot be exchanged by us, but the directory's owner can; root
    // owns the usual ones.
    if ownership == Ownership::Checked && metadata.uid() != uid && metadata.uid() != 0 {
        return Err(UntrustedFile::Foreign {
            path: path.into(),
            owner: metadata.uid(),
            uid,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn file_with_modes(directory_mode: u32, file_mode: u32) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let directory = root.path().join("plugins");
        fs::create_dir(&directory).expect("a directory");
        let file = directory.join("file");
        fs::write(&file, "").expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(file_mode)).expect("the file's mode");
        fs::set_permissions(&directory, Permissions::from_mode(directory_mode))
            .expect("the directory's mode");
        (root, file)
    }

    #[test]
    fn a_private_file_in_a_private_directory_is_trusted() {
        let (_root, file) = file_with_modes(0o755, 0o755);
        check_trusted(&file).expect("trusted");
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_with_the_mending_command() {
        for (mode, who) in [
            (0o757, "other users"),
            (0o775, "its group"),
            (0o777, "other users"),
        ] {
            let (_root, file) = file_with_modes(0o755, mode);
            let message = check_trusted(&file).expect_err("refused").to_string();
            assert!(
                message.contains(who) && message.contains("chmod go-w"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let (root, file) = file_with_modes(0o777, 0o755);
        let error = check_trusted(&file).expect_err("refused");
        assert!(
            matches!(&error, UntrustedFile::Writable { path, .. } if path.ends_with("plugins")),
            "{error}"
        );
        // A sticky directory keeps others from exchanging the file.
        fs::set_permissions(root.path().join("plugins"), Permissions::from_mode(0o1777))
            .expect("sticky");
        check_trusted(&file).expect("trusted");
    }

    #[test]
    fn a_link_is_judged_by_its_target() {
        let (root, file) = file_with_modes(0o755, 0o757);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(file, &link).expect("a link");
        assert!(matches!(
            check_trusted(&link),
            Err(UntrustedFile::Writable { .. })
        ));
        assert!(matches!(
            check_trusted(&root.path().join("absent")),
            Err(UntrustedFile::Unreadable { .. })
        ));
    }
}
