//! The files and directories that decide the target of a path.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The number of links after which a path counts as a loop, as in the kernel.
const MAX_LINKS: usize = 40;

/// One file on the way from the root directory to the target of a path.
#[derive(Debug)]
pub(super) struct Node {
    /// Its path, without links in it; the last component may be a link.
    pub(super) path: PathBuf,
    /// Its role on the way.
    pub(super) role: Role,
    /// Its metadata; that of the link itself for a link.
    pub(super) metadata: io::Result<Metadata>,
}

/// The role of a file on the way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A directory above that of the target, or on the way to a link.
    Ancestor,
    /// The directory of the target.
    Directory,
    /// A symbolic link.
    Link,
    /// The end of the path.
    Target,
}

/// Follows `path` from the root directory through every link, as the kernel would, and returns each file on the way once.
///
/// The walk ends at the first file that cannot be examined.
pub(super) fn walk(path: &Path) -> Vec<Node> {
    let mut way = Way::default();
    if let Err((path, error)) = way.follow(path) {
        way.nodes.push(Node {
            path,
            role: Role::Target,
            metadata: Err(error),
        });
        return way.nodes;
    }
    let (target, directory) = (way.resolved.clone(), way.resolved.parent());
    for node in way
        .nodes
        .iter_mut()
        .filter(|node| node.role == Role::Ancestor)
    {
        if node.path == target {
            node.role = Role::Target;
        } else if Some(node.path.as_path()) == directory {
            node.role = Role::Directory;
        }
    }
    way.nodes
}

/// Returns the entries that decide where `path` leads: each link on the way, and the file at its end. The last one is the
/// first that cannot be examined, if there is one.
///
/// ```
/// use keyway_local::file::deciding_entries;
/// use std::path::Path;
///
/// let entries = deciding_entries(Path::new("/proc/self/../version"));
/// assert_eq!(entries, [Path::new("/proc/self"), Path::new("/proc/version")]);
/// ```
#[must_use]
pub fn deciding_entries(path: &Path) -> Vec<PathBuf> {
    walk(path)
        .into_iter()
        .filter(|node| matches!(node.role, Role::Link | Role::Target))
        .map(|node| node.path)
        .collect()
}

#[derive(Debug, Default)]
struct Way {
    nodes: Vec<Node>,
    resolved: PathBuf,
}

impl Way {
    fn follow(&mut self, path: &Path) -> Result<(), (PathBuf, io::Error)> {
        let absolute = std::path::absolute(path).map_err(|error| (path.into(), error))?;
        let mut rest = components(&absolute);
        let mut n_links = 0;
        self.enter("/".into())?;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                // A resolved path holds no links, so its parent is the directory that `..` means.
                self.resolved.pop();
                continue;
            }
            let next = self.resolved.join(name);
            let Some(target) = self.enter(next.clone())? else {
                continue;
            };
            n_links += 1;
            if n_links > MAX_LINKS {
                return Err((next, io::Error::from_raw_os_error(libc::ELOOP)));
            }
            if target.is_absolute() {
                self.resolved = "/".into();
            }
            for name in components(&target).into_iter().rev() {
                rest.push_front(name);
            }
        }
        Ok(())
    }

    /// Records the file at `path` and continues there, or returns the target of the link that it is.
    fn enter(&mut self, path: PathBuf) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
        let failed = |error| (path.clone(), error);
        let metadata = path.symlink_metadata().map_err(failed)?;
        if metadata.is_symlink() {
            let target = path.read_link().map_err(failed)?;
            self.push(path, Role::Link, metadata);
            return Ok(Some(target));
        }
        self.resolved.clone_from(&path);
        self.push(path, Role::Ancestor, metadata);
        Ok(None)
    }

    fn push(&mut self, path: PathBuf, role: Role, metadata: Metadata) {
        if self.nodes.iter().all(|node| node.path != path) {
            self.nodes.push(Node {
                path,
                role,
                metadata: Ok(metadata),
            });
        }
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(path: &Path, root: &Path) -> Vec<(String, Role)> {
        let below = |node: Node| {
            let name = node.path.strip_prefix(root).ok()?;
            Some((name.display().to_string(), node.role))
        };
        walk(path).into_iter().filter_map(below).collect()
    }

    #[test]
    fn links_behind_links_are_followed_and_each_file_is_met_once() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let root = root.path().canonicalize().expect("its path");
        fs::create_dir_all(root.join("versions/v1")).expect("directories");
        fs::create_dir(root.join("plugins")).expect("a directory");
        fs::write(root.join("versions/v1/vault"), "").expect("a file");
        symlink("v1", root.join("versions/current")).expect("a link");
        symlink("../versions/current/vault", root.join("plugins/vault")).expect("a link");
        let expected = [
            ("", Role::Ancestor),
            ("plugins", Role::Ancestor),
            ("plugins/vault", Role::Link),
            ("versions", Role::Ancestor),
            ("versions/current", Role::Link),
            ("versions/v1", Role::Directory),
            ("versions/v1/vault", Role::Target),
        ];
        assert_eq!(
            names(&root.join("plugins/vault"), &root),
            expected.map(|(name, role)| (name.to_owned(), role))
        );
    }

    #[test]
    fn the_walk_ends_at_a_loop_or_an_absent_file() {
        let root = tempfile::tempdir().expect("a temporary directory");
        symlink("loop", root.path().join("loop")).expect("a link");
        for (name, code) in [("loop", libc::ELOOP), ("absent/file", libc::ENOENT)] {
            let nodes = walk(&root.path().join(name));
            let last = nodes.last().expect("a node");
            // The node of the link itself comes first, so the loop is reported at the end or on it.
            let error = nodes.iter().find_map(|node| node.metadata.as_ref().err());
            assert_eq!(
                error.and_then(io::Error::raw_os_error),
                Some(code),
                "{last:?}"
            );
        }
    }
}
