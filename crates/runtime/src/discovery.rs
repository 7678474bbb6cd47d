//! Finding the plugins: the executables of the plugin directories.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyway_local::file::{Offences, check_owners};

use crate::model::name::{ParsePluginNameError, PluginName};

/// What a look into the plugin directories found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The plugins to launch, by name: the path as found, symbolic links not resolved.
    pub plugins: BTreeMap<PluginName, PathBuf>,
    /// What was passed over, and why. None of it keeps the other plugins from starting.
    pub problems: Vec<DiscoveryProblem>,
}

/// A directory or file that was passed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryProblem {
    /// The directory exists and cannot be listed.
    #[error("plugin directory {path} cannot be read: {source}", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory, or the file, could have been written by somebody else.
    #[error("{path} is not used: {source}", path = .path.display())]
    Untrusted {
        /// What was passed over.
        path: PathBuf,
        /// Which permission is too wide.
        source: Offences,
    },
    /// A file that no permission bit lets us execute.
    #[error("{path} is not executable: run `chmod u+x {path}` or take it out of the plugin directory", path = .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The file's name cannot be the name of a plugin.
    #[error("{path} is not started: {source}", path = .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with the name.
        source: ParsePluginNameError,
    },
    /// An earlier directory holds a plugin of the same name.
    #[error("{path} is not started: {first} has the same name and comes first", path = .path.display(), first = .first.display())]
    Shadowed {
        /// The file that was passed over.
        path: PathBuf,
        /// The file that is started instead.
        first: PathBuf,
    },
    /// A symbolic link whose target is missing, or a file that vanished.
    #[error("{path} cannot be examined: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Looks for plugins in `directories`, in their order: regular files, and symbolic links to them, that are executable
/// and that no other user could have written. A directory that does not exist holds nothing; other problems are reported
/// in the answer. Names that begin with a dot, and directories, are passed over in silence.
pub fn discover(directories: &[PathBuf]) -> Discovery {
    let mut found = Discovery::default();
    for directory in directories {
        scan_directory(directory, &mut found);
    }
    found
}

fn scan_directory(directory: &Path, found: &mut Discovery) {
    let mut paths = match list(directory) {
        Ok(paths) => paths,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return,
        Err(source) => {
            return found.problems.push(DiscoveryProblem::Directory {
                path: directory.into(),
                source,
            });
        }
    };
    if let Err(source) = check_owners(directory) {
        return found.problems.push(DiscoveryProblem::Untrusted {
            path: directory.into(),
            source,
        });
    }
    paths.sort();
    for path in paths {
        match examine(&path) {
            Ok(Some(name)) => match found.plugins.get(&name) {
                None => {
                    found.plugins.insert(name, path);
                }
                Some(first) => {
                    let first = first.clone();
                    found
                        .problems
                        .push(DiscoveryProblem::Shadowed { path, first });
                }
            },
            Ok(None) => {}
            Err(problem) => found.problems.push(problem),
        }
    }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// The name of the plugin in `path`, or `None` for what is no candidate at all.
fn examine(path: &Path) -> Result<Option<PluginName>, DiscoveryProblem> {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    if hidden {
        return Ok(None);
    }
    let metadata = path
        .metadata()
        .map_err(|source| DiscoveryProblem::Unreadable {
            path: path.into(),
            source,
        })?;
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(DiscoveryProblem::NotExecutable { path: path.into() });
    }
    let name = PluginName::from_executable(path).map_err(|source| DiscoveryProblem::Name {
        path: path.into(),
        source,
    })?;
    check_owners(path).map_err(|source| DiscoveryProblem::Untrusted {
        path: path.into(),
        source,
    })?;
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    struct PluginDirectory(tempfile::TempDir);

    impl PluginDirectory {
        fn new() -> Self {
            let directory = Self(tempfile::tempdir().expect("a temporary directory"));
            fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("the mode");
            directory
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.path().join(name);
            fs::write(&path, "#!/bin/sh\n").expect("a file");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the mode");
            path
        }

        fn discover(&self) -> Discovery {
            discover(&[self.path().into()])
        }
    }

    fn names(found: &Discovery) -> Vec<&str> {
        found.plugins.keys().map(PluginName::as_str).collect()
    }

    #[test]
    fn executables_and_links_to_them_are_plugins() {
        let directory = PluginDirectory::new();
        let target = directory.file("pass", 0o755);
        std::os::unix::fs::symlink(target, directory.path().join("alias")).expect("a link");
        fs::create_dir(directory.path().join("subdirectory")).expect("a directory");
        directory.file(".hidden", 0o755);
        let found = directory.discover();
        assert_eq!(names(&found), ["alias", "pass"]);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
    }

    #[test]
    fn a_bad_file_is_reported_and_stops_nobody_else() {
        let directory = PluginDirectory::new();
        directory.file("good", 0o755);
        directory.file("plain", 0o644);
        directory.file("with space", 0o755);
        directory.file("open", 0o777);
        std::os::unix::fs::symlink("/nowhere", directory.path().join("dangling")).expect("a link");
        let found = directory.discover();
        assert_eq!(names(&found), ["good"]);
        let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(matches!(
            found.problems[0],
            DiscoveryProblem::Unreadable { .. }
        ));
        assert!(matches!(
            found.problems[1],
            DiscoveryProblem::Untrusted { .. }
        ));
        assert!(matches!(
            found.problems[2],
            DiscoveryProblem::NotExecutable { .. }
        ));
        assert!(matches!(found.problems[3], DiscoveryProblem::Name { .. }));
    }

    #[test]
    fn the_first_directory_wins_and_the_other_file_is_reported() {
        let (first, second) = (PluginDirectory::new(), PluginDirectory::new());
        let path = first.file("file", 0o755);
        second.file("file", 0o755);
        let found = discover(&[first.path().into(), second.path().into()]);
        assert_eq!(found.plugins.values().collect::<Vec<_>>(), [&path]);
        assert!(matches!(
            found.problems[..],
            [DiscoveryProblem::Shadowed { .. }]
        ));
    }

    #[test]
    fn a_missing_directory_is_empty_and_an_open_one_is_refused() {
        let directory = PluginDirectory::new();
        assert!(
            discover(&[directory.path().join("absent")])
                .problems
                .is_empty()
        );
        directory.file("file", 0o755);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("the mode");
        let found = directory.discover();
        assert!(found.plugins.is_empty());
        assert!(matches!(
            found.problems[..],
            [DiscoveryProblem::Untrusted { .. }]
        ));
    }
}
