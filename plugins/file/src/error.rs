//! The errors of a store.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_secrets::Id;

/// Error of an operation on a [`Store`](crate::Store).
///
/// `Display` states the cause and names the file; [`remedy`](Self::remedy) returns the action that helps. Neither contains a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The values that a query matches exceed the limit of one response.
    #[error(
        "the query matches {count} secrets of {bytes} bytes together, more than the {max} of one response"
    )]
    ResponseTooLarge {
        /// Number of matching secrets.
        count: usize,
        /// Size of their values in bytes.
        bytes: u64,
        /// The limit in bytes, [`MAX_RESPONSE_LEN`](crate::MAX_RESPONSE_LEN).
        max: u64,
    },
    /// A file of the store is damaged or has unexpected content.
    #[error("{} is damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damaged part.
        reason: String,
    },
    /// Other users can read or change a file.
    #[error("{} has mode {mode:04o}, so that other users can {}", path.display(), format_access(*mode))]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// `true` if it is a directory.
        dir: bool,
    },
    /// A file belongs to another user.
    #[error("{} belongs to user {owner}, but this process runs as user {user}", path.display())]
    ForeignOwner {
        /// The file or directory.
        path: PathBuf,
        /// Uid of the owner.
        owner: u32,
        /// Uid of this process.
        user: u32,
    },
    /// The identity file is invalid.
    #[error("the identity file {} cannot be used: {reason}", path.display())]
    Identity {
        /// The identity file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The identity file is not protected, although a passphrase is configured.
    #[error(
        "the identity file {} cannot be used: it is not protected, but a passphrase is configured",
        path.display()
    )]
    IdentityUnprotected {
        /// The identity file.
        path: PathBuf,
    },
    /// The identity file is protected by a passphrase, and none is configured.
    #[error(
        "the identity file {} cannot be used: it is protected by a passphrase",
        path.display()
    )]
    IdentityProtected {
        /// The identity file.
        path: PathBuf,
    },
    /// The store holds secrets, but its identity is missing.
    #[error("the store in {} holds secrets, but its identity file {} is missing", dir.display(), path.display())]
    IdentityMissing {
        /// The store's directory.
        dir: PathBuf,
        /// The missing file.
        path: PathBuf,
    },
    /// The store holds values, but its index is missing.
    #[error("{} is missing, although there are values beside it", path.display())]
    IndexMissing {
        /// The index file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another writer held the lock for the whole timeout.
    #[error("{} is locked by {holder}, still after {:.1} s", path.display(), waited.as_secs_f64())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The name that the other writer wrote into the lock file.
        holder: String,
        /// The timeout that passed.
        waited: Duration,
    },
    /// No variable names the directory of the store.
    #[error("the location of the file store is not known")]
    NoLocation,
    /// A path of the store is not a file, or not a directory.
    #[error("{} is not a {expected}", path.display())]
    NotA {
        /// The path.
        path: PathBuf,
        /// The expected type.
        expected: &'static str,
    },
    /// The passphrase file cannot be used.
    #[error("the passphrase file {} cannot be used: {reason}", path.display())]
    Passphrase {
        /// The passphrase file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The passphrase does not open the identity file.
    #[error(
        "the identity file {} cannot be used: the passphrase{} does not open it",
        path.display(),
        passphrase.as_ref().map(|file| format!(" in {}", file.display())).unwrap_or_default()
    )]
    WrongPassphrase {
        /// The identity file.
        path: PathBuf,
        /// The passphrase file; `None` for a passphrase that the user entered.
        passphrase: Option<PathBuf>,
    },
    /// A passphrase that the user entered is empty or not UTF-8.
    #[error("the passphrase is empty or not text")]
    UnusablePassphrase,
    /// There is no store where one is needed.
    #[error("there is no store in {}", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// The index is not encrypted to the identity.
    #[error("{} is damaged: it is not encrypted to the store's identity, or its header was changed", path.display())]
    OtherIdentity {
        /// The index file.
        path: PathBuf,
    },
    /// A file to create exists already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file is not a backup of a store, or a damaged one.
    #[error("the backup {} cannot be used: {reason}", path.display())]
    InvalidBackup {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The identity would have to be replaced and is outside of the store's directory.
    #[error("the identity of the store is {}, which a restore does not replace", path.display())]
    IdentityElsewhere {
        /// The identity file.
        path: PathBuf,
    },
    /// The identity does not open a backup.
    #[error("the backup {} is encrypted to another identity", path.display())]
    BackupOfOtherIdentity {
        /// The backup.
        path: PathBuf,
    },
    /// The list of further recipients is invalid.
    #[error("line {line} of {} is not an age recipient (`age1...`): {reason}", path.display())]
    Recipient {
        /// The list.
        path: PathBuf,
        /// Number of the line, counted from one.
        line: usize,
        /// The error of the parser.
        reason: &'static str,
    },
    /// An environment variable names a relative path.
    #[error("{variable} is `{}`, which is a relative path", path.display())]
    RelativePath {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The random numbers of the system are not available.
    #[error("cannot read random numbers from the system")]
    Random(#[source] io::Error),
    /// The store was written by a newer version of this program.
    #[error("{} has format {found}, and this version supports up to {supported}", path.display())]
    UnknownFormat {
        /// The index file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format that this version supports.
        supported: u32,
    },
    /// The secret or the version to change is not stored.
    #[error("{}", describe_missing(id, *version))]
    NotFound {
        /// Id of the secret.
        id: Id,
        /// The version; `None` if the secret itself is not stored.
        version: Option<u64>,
    },
    /// The current version is not the expected one.
    #[error("{}", describe_current(id, *current))]
    UnexpectedVersion {
        /// Id of the secret.
        id: Id,
        /// The current version; `None` if the secret does not exist.
        current: Option<u64>,
    },
    /// A value exceeds the limit.
    #[error("the value of `{id}` has {len} bytes, more than the {max} that the store accepts")]
    ValueTooLarge {
        /// Id of the secret.
        id: Id,
        /// Size of its value in bytes.
        len: usize,
        /// The limit in bytes, [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN).
        max: usize,
    },
}

impl StoreError {
    /// Returns the action for the user, as an instruction in lower case without a full stop; `None` if it depends on the system.
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::ResponseTooLarge { .. } => "query fewer of them",
            Self::Corrupt { .. }
            | Self::Identity { .. }
            | Self::IndexMissing { .. }
            | Self::OtherIdentity { .. } => "restore it from a backup",
            Self::Exposed { path, dir, .. } => {
                let argument = chmod_argument(*dir);
                return Some(format!("run `chmod {argument} {}`", path.display()));
            }
            Self::ForeignOwner { path, user, .. } => {
                return Some(format!(
                    "run it as that user, or `chown {user} {}`",
                    path.display()
                ));
            }
            Self::IdentityUnprotected { .. } => {
                "run `keyway store passphrase` to protect it, or unset KEYWAY_FILE_PASSPHRASE_FILE"
            }
            Self::IdentityProtected { .. } => {
                "name the file that holds the passphrase in KEYWAY_FILE_PASSPHRASE_FILE"
            }
            Self::IdentityMissing { .. } => "restore that file from a backup",
            Self::Locked { .. } => "try again when that has finished",
            Self::NoLocation => "set KEYWAY_FILE_STORE, XDG_DATA_HOME or HOME to an absolute path",
            Self::NotA { .. } => "move it away",
            Self::Passphrase { .. } => {
                "put the passphrase on the first line of that file, readable by you alone"
            }
            Self::WrongPassphrase {
                passphrase: Some(_),
                ..
            } => "put the right passphrase on the first line of that file",
            Self::WrongPassphrase { .. } => "enter the right passphrase",
            Self::UnusablePassphrase => "enter another one",
            Self::NoStore { .. } => "name the directory of a store in KEYWAY_FILE_STORE",
            Self::Exists { .. } => "choose another name",
            Self::IdentityElsewhere { .. } => "put the identity that opens the backup there first",
            Self::InvalidBackup { .. } => "use another backup",
            Self::BackupOfOtherIdentity { .. } => "name the identity that opens it",
            Self::Recipient { .. } => "correct or remove that line",
            Self::RelativePath { .. } => "give an absolute one",
            Self::UnknownFormat { .. } => "use a newer one",
            Self::ValueTooLarge { .. } => "store a smaller value",
            Self::NotFound { version: None, .. } => "run `keyway ls` to see what there is",
            Self::NotFound { id, .. } => {
                return Some(format!("run `keyway versions {id}` to see what there is"));
            }
            Self::UnexpectedVersion { .. } => "read the secret again, then decide",
            Self::Io { .. } | Self::Random(_) => return None,
        };
        Some(remedy.to_owned())
    }

    /// Returns `true` if the store is there and cannot be opened until the user does something: a passphrase, an identity, an owner
    /// or a mode.
    pub fn is_locked(&self) -> bool {
        matches!(
            self,
            Self::Exposed { .. }
                | Self::ForeignOwner { .. }
                | Self::Identity { .. }
                | Self::IdentityMissing { .. }
                | Self::IdentityProtected { .. }
                | Self::IdentityUnprotected { .. }
                | Self::Passphrase { .. }
                | Self::WrongPassphrase { .. }
        )
    }

    /// Returns a function that adds the operation and the file to an `io::Error`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

fn describe_missing(id: &Id, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("there is no version {version} of `{id}`"),
        None => format!("there is no secret `{id}`"),
    }
}

fn describe_current(id: &Id, current: Option<u64>) -> String {
    match current {
        Some(version) => {
            format!("the current version of `{id}` is {version}, which is not the expected one")
        }
        None => format!("there is no secret `{id}`, although a version of it is expected"),
    }
}

fn format_access(mode: u32) -> &'static str {
    match (mode & 0o044 != 0, mode & 0o022 != 0) {
        (true, true) => "read and change it",
        (false, true) => "change it",
        _ => "read it",
    }
}

fn chmod_argument(dir: bool) -> &'static str {
    if dir { "go-w" } else { "600" }
}

#[cfg(test)]
mod tests {
    use keyway_test_support::assert_causes_said_once;

    use super::*;

    #[test]
    fn no_error_contains_the_text_of_its_cause() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert_causes_said_once(&StoreError::Random(denied()));
        assert_causes_said_once(&StoreError::Io {
            action: "read",
            path: "a".into(),
            source: denied(),
        });
    }
}
