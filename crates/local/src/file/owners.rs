//! Which files are trusted: those that no other user and no group could have written.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::quote::shell_quote;
use super::way::{Node, Role, walk};
use crate::causes::with_causes;
use crate::uid::KnownUids;

/// The sticky bit: in such a directory (`/tmp`) only the owner of an entry can replace it.
const STICKY: u32 = 0o1000;

/// The reason why one file or directory is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Offence {
    /// It belongs neither to the process's own user nor to root.
    #[error("{path} belongs to uid {owner}, not to us (uid {uid}) or root: run `{}`", chown(.path, *.uid, *.is_link), path = .path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// The uid of its owner.
        owner: u32,
        /// Our own uid.
        uid: u32,
        /// `true` if the path is a symbolic link, and it is the link that belongs to the other user.
        is_link: bool,
    },
    /// It belongs to a user that this user namespace does not map.
    #[error("{path} belongs to a user that this user namespace does not map: map that user, or `chown` it outside", path = .path.display())]
    Unmapped {
        /// The file or directory.
        path: PathBuf,
    },
    /// It cannot be examined.
    #[error("{path} cannot be examined", path = .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other users, or the members of a group, can write to it.
    #[error("{path} can be written by {who} (mode {mode:04o}): run `chmod go-w {}`", shell_quote(.path), path = .path.display())]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The other users that can write to it.
        who: &'static str,
    },
}

fn chown(path: &Path, uid: u32, is_link: bool) -> String {
    let program = if uid == 0 { "chown" } else { "sudo chown" };
    let option = if is_link { " -h" } else { "" };
    format!("{program}{option} {uid} {}", shell_quote(path))
}

/// The reasons why a file is not trusted: one or more offences of the file and the directories above.
#[derive(Debug)]
pub struct Offences(Vec<Offence>);

impl Offences {
    /// Returns the offences, the root directory's first, the file's own last.
    pub fn iter(&self) -> impl Iterator<Item = &Offence> {
        self.0.iter()
    }

    fn unless_empty(offences: Vec<Offence>) -> Result<(), Self> {
        if offences.is_empty() {
            Ok(())
        } else {
            Err(Self(offences))
        }
    }
}

impl fmt::Display for Offences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, offence) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&with_causes(offence))?;
        }
        Ok(())
    }
}

impl std::error::Error for Offences {}

/// Checks that only we and root could have written the file that `path` leads to, or could exchange it for another file.
///
/// The file, its directory, all directories above, and every link on the way must belong to us or root, and must not be
/// writable by a group or by others. Sticky directories may be writable. Links are followed, and the way to each link counts
/// like the way to its target.
///
/// # Errors
///
/// Returns [`Offences`] with every path that breaks the rule, and a command that corrects each.
pub fn check_owners(path: &Path) -> Result<(), Offences> {
    check(path, None)
}

/// As [`check_owners`], for the file that was opened at `path` as `file`: its own owner and mode are read from the
/// descriptor.
///
/// The content that is read or executed through the descriptor afterwards is the checked one, whatever `path` means by then.
///
/// # Errors
///
/// As [`check_owners`].
pub fn check_opened(file: &File, path: &Path) -> Result<(), Offences> {
    check(path, Some(file))
}

/// As [`check_opened`], for the file alone. For a file that is written and not relied on, which may lie in a directory of a group.
///
/// # Errors
///
/// As [`check_owners`].
pub fn check_file(file: &File, path: &Path) -> Result<(), Offences> {
    judge(vec![target(file, path)])
}

fn check(path: &Path, opened: Option<&File>) -> Result<(), Offences> {
    let mut nodes = walk(path);
    if let Some(file) = opened {
        // An error of the walk stays: it leaves open which users could exchange the file.
        nodes.retain(|node| node.role != Role::Target || node.metadata.is_err());
        nodes.push(target(file, path));
    }
    judge(nodes)
}

fn target(file: &File, path: &Path) -> Node {
    Node {
        path: path.into(),
        role: Role::Target,
        metadata: file.metadata(),
    }
}

fn judge(nodes: Vec<Node>) -> Result<(), Offences> {
    let uids = KnownUids::read();
    let root_is_ambiguous = nodes
        .first()
        .and_then(|root| root.metadata.as_ref().ok())
        .is_some_and(|root| uids.is_ambiguous(root.uid()));
    let mut offences = Vec::new();
    for node in nodes {
        match node.metadata {
            Err(source) => offences.push(Offence::Unreadable {
                path: node.path,
                source,
            }),
            Ok(metadata) => {
                let file = Examined::new(&metadata, node.role);
                offences.extend(file.offences(&node.path, &uids, root_is_ambiguous));
            }
        }
    }
    Offences::unless_empty(offences)
}

/// The facts that the rule examines.
#[derive(Debug, Clone, Copy)]
struct Examined {
    owner: u32,
    mode: u32,
    is_directory: bool,
    role: Role,
}

impl Examined {
    fn new(metadata: &Metadata, role: Role) -> Self {
        Self {
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
            is_directory: metadata.is_dir(),
            role,
        }
    }

    fn offences(
        self,
        path: &Path,
        uids: &KnownUids,
        root_is_ambiguous: bool,
    ) -> impl Iterator<Item = Offence> {
        let writable = self.other_writers().map(|who| Offence::Writable {
            path: path.into(),
            mode: self.mode,
            who,
        });
        let owner = self.owner_offence(path, uids, root_is_ambiguous);
        writable.into_iter().chain(owner)
    }

    fn other_writers(self) -> Option<&'static str> {
        let is_sticky_directory = self.is_directory && self.mode & STICKY != 0;
        // The mode of a link means nothing.
        if is_sticky_directory || self.role == Role::Link {
            return None;
        }
        match self.mode & 0o022 {
            0 => None,
            0o020 => Some("its group"),
            _ => Some("other users"),
        }
    }

    /// In a user namespace that does not map the real root, the root directory and many files below it belong to the overflow uid.
    /// The owner of the root directory controls the system that we run on, so there, and only there, the owners of ancestors are
    /// not checked.
    fn owner_offence(
        self,
        path: &Path,
        uids: &KnownUids,
        root_is_ambiguous: bool,
    ) -> Option<Offence> {
        if uids.is_ambiguous(self.owner) {
            let is_excepted = root_is_ambiguous && matches!(self.role, Role::Ancestor | Role::Link);
            return (!is_excepted).then(|| Offence::Unmapped { path: path.into() });
        }
        let is_trusted = self.owner == 0 || uids.is_own(self.owner);
        (!is_trusted).then(|| Offence::Foreign {
            path: path.into(),
            owner: self.owner,
            uid: uids.own(),
            is_link: self.role == Role::Link,
        })
    }
}

#[cfg(test)]
mod tests;
