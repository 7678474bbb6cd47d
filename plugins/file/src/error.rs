//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_secrets::Id;

/// Why an operation on a [`Store`](crate::Store) failed.
///
/// Every message names the file and says what to do; none holds a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The values that a query matches are too large for one answer.
    #[error(
        "the query matches {count} secrets of {bytes} bytes together, more than the {max} that one answer may hold; ask for fewer of them"
    )]
    AnswerTooLarge {
        /// How many secrets match.
        count: usize,
        /// The size of their values.
        bytes: u64,
        /// The limit, [`MAX_ANSWER_LEN`](crate::MAX_ANSWER_LEN).
        max: u64,
    },
    /// A file of the store is damaged, or is not what it should be.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Another user could read or change a file.
    #[error("{} has mode {mode:04o}, so that other users can {}; run `chmod {} {}`", path.display(), can(*mode), remedy(*dir), path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a directory.
        dir: bool,
    },
    /// A file belongs to another user.
    #[error("{} belongs to user {owner}, but this process runs as user {user}; run it as that user, or `chown {user} {}`", path.display(), path.display())]
    ForeignOwner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The identity file cannot be used.
    #[error("the identity file {} cannot be used: {reason}", path.display())]
    Identity {
        /// The identity file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The identity file is protected by a passphrase, and none is configured.
    #[error(
        "the identity file {} cannot be used: it is protected by a passphrase; name the file that holds the passphrase in KEYWAY_FILE_PASSPHRASE_FILE",
        path.display()
    )]
    IdentityProtected {
        /// The identity file.
        path: PathBuf,
    },
    /// The store holds secrets, but the identity that can read them is gone.
    #[error("the store in {} holds secrets, but its identity file {} is missing; restore that file from a backup", dir.display(), path.display())]
    IdentityMissing {
        /// The store's directory.
        dir: PathBuf,
        /// Where the identity was looked for.
        path: PathBuf,
    },
    /// The store holds values, but the index that names them is gone.
    #[error("{} is missing, although there are values beside it; restore it from a backup", path.display())]
    IndexMissing {
        /// The index file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another writer did not finish in time.
    #[error("{} is locked by {holder}, still after {:.1} s; try again when that has finished", path.display(), waited.as_secs_f64())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who wrote its name into the lock file.
        holder: String,
        /// How long we waited.
        waited: Duration,
    },
    /// No variable says where the store is.
    #[error(
        "nothing says where the store is: set KEYWAY_FILE_STORE, XDG_DATA_HOME or HOME to an absolute path"
    )]
    NoLocation,
    /// The name of the store is taken by something that is not a file (or not a directory).
    #[error("{} is not a {expected}; move it away", path.display())]
    NotA {
        /// What is in the way.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// The file with the passphrase cannot be used.
    #[error("the passphrase file {} cannot be used: {reason}", path.display())]
    Passphrase {
        /// The passphrase file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The passphrase does not open the identity file.
    #[error(
        "the identity file {} cannot be used: the passphrase in {} does not open it",
        path.display(),
        passphrase.display()
    )]
    WrongPassphrase {
        /// The identity file.
        path: PathBuf,
        /// The file with the passphrase.
        passphrase: PathBuf,
    },
    /// The list of further recipients is wrong.
    #[error("line {line} of {} is not an age recipient (`age1...`): {reason}", path.display())]
    Recipient {
        /// The list.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What the parser says.
        reason: &'static str,
    },
    /// An environment variable names a relative path.
    #[error("{variable} is `{}`, which is a relative path; give an absolute one", path.display())]
    RelativePath {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The system's random numbers are not available.
    #[error("the system gave no random numbers: {0}")]
    Random(#[source] io::Error),
    /// The store was written by a newer version of this program.
    #[error("{} has format {found}, and this version knows up to {known}; use a newer one", path.display())]
    UnknownFormat {
        /// The index file.
        path: PathBuf,
        /// The format that it says.
        found: u32,
        /// The newest format that we know.
        known: u32,
    },
    /// A value is too large to be stored.
    #[error("the value of `{id}` has {len} bytes; the store takes at most {max}")]
    ValueTooLarge {
        /// The secret.
        id: Id,
        /// The size of its value.
        len: usize,
        /// The limit, [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN).
        max: usize,
    },
}

impl StoreError {
    /// An `io::Error` with what was tried and with which file.
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

fn can(mode: u32) -> &'static str {
    match (mode & 0o044 != 0, mode & 0o022 != 0) {
        (true, true) => "read and change it",
        (false, true) => "change it",
        _ => "read it",
    }
}

fn remedy(dir: bool) -> &'static str {
    if dir { "go-w" } else { "600" }
}
