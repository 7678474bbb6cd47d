//! Discovery: the executables of the plugin directories.

mod copies;
mod names;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyway_local::file::{Offences, check_owners};

use crate::config::Config;
use crate::model::name::{ParsePluginNameError, PluginName};

pub(crate) use copies::Copies;

/// The findings of a scan of the plugin directories.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// The plugins to launch, by name: the path as found, symbolic links not resolved.
    pub(crate) plugins: BTreeMap<PluginName, PathBuf>,
    /// The plugins that are launched as soon as the configuration mentions their name or the user enables them.
    pub(crate) available: BTreeMap<PluginName, PathBuf>,
    /// Skipped files, with the reasons. None of them keeps the other plugins from starting.
    pub(crate) problems: Vec<DiscoveryProblem>,
    /// Findings that deserve attention although they are not faults: names of backups, and copies.
    pub(crate) warnings: Vec<DiscoveryProblem>,
}

/// A directory or file that was skipped, or that deserves attention.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryProblem {
    /// The directory exists and cannot be listed.
    #[error("plugin directory {path} cannot be read", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another user could have written the directory or the file. Its plugins are found, and refused when they are to start.
    #[error("{path} is not used", path = .path.display())]
    Untrusted {
        /// The directory or file.
        path: PathBuf,
        /// The offences.
        source: Offences,
    },
    /// A file that no permission bit lets us execute.
    #[error("{path} is not executable: run `chmod u+x {path}` or take it out of the plugin directory", path = .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The file's name cannot be the name of a plugin.
    #[error("{path} is not started", path = .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The fault of the name.
        source: ParsePluginNameError,
    },
    /// An earlier directory holds a plugin of the same name.
    #[error("{path} is not started: {first} has the same name and comes first", path = .path.display(), first = .first.display())]
    Shadowed {
        /// The file that was skipped.
        path: PathBuf,
        /// The file that is started instead.
        first: PathBuf,
    },
    /// The name is one that packages and editors give to a former version.
    #[error("{path} is not started: its name is that of a backup or of a file that is being written", path = .path.display())]
    Backup {
        /// The file that was skipped.
        path: PathBuf,
    },
    /// The file has the bytes of another plugin; it is started.
    #[error("{path} is a copy of the plugin {first}: both are started; remove the one that is not needed", path = .path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// The plugin with the same bytes.
        first: PluginName,
    },
    /// A symbolic link whose target is missing, or a file that vanished.
    #[error("{path} cannot be examined", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Looks for the plugins of a configuration: regular files, and symbolic links to them, that are executable. Blocks.
///
/// A file that another user could have written is among them, so that it is shown as refused, and no value of a lower provider
/// takes the place of its own. The launch checks the file that it executes.
///
/// The first directory that has a name wins it. `is_chosen` returns whether a plugin of [`Config::available_dirs`] runs; one that
/// is not chosen gives way to a plugin of the same name in [`Config::plugin_dirs`]. A directory that does not exist holds
/// nothing; other problems are part of the result. Names that begin with a dot, and directories, are skipped without a report.
pub(crate) fn discover(
    config: &Config,
    is_chosen: impl Fn(&PluginName) -> bool,
    copies: &mut Copies,
) -> Discovery {
    let mut found = Discovery::default();
    let mut available = BTreeMap::new();
    for directory in &config.available_dirs {
        for (name, path) in scan_directory(directory, &mut found) {
            if is_chosen(&name) {
                found.add(name, path);
            } else {
                available.entry(name).or_insert(path);
            }
        }
    }
    for directory in &config.plugin_dirs {
        for (name, path) in scan_directory(directory, &mut found) {
            found.add(name, path);
        }
    }
    available.retain(|name, _| !found.plugins.contains_key(name));
    found.available = available;
    found.report_copies(copies);
    found
}

impl Discovery {
    fn add(&mut self, name: PluginName, path: PathBuf) {
        match self.plugins.get(&name) {
            None => {
                self.plugins.insert(name, path);
            }
            Some(first) => {
                let first = first.clone();
                self.problems
                    .push(DiscoveryProblem::Shadowed { path, first });
            }
        }
    }

    /// Reports a file that another user could have written; returns whether it is safe.
    fn check(&mut self, path: &Path) -> bool {
        let Err(source) = check_owners(path) else {
            return true;
        };
        let path = path.into();
        self.problems
            .push(DiscoveryProblem::Untrusted { path, source });
        false
    }

    fn report_copies(&mut self, copies: &mut Copies) {
        let plugins = self.plugins.iter();
        for (name, first) in copies.find(plugins.map(|(name, path)| (name, path.as_path()))) {
            if let Some(path) = self.plugins.get(&name).cloned() {
                self.warnings.push(DiscoveryProblem::Copy { path, first });
            }
        }
    }
}

/// Returns the plugins of a directory in the order of their paths.
fn scan_directory(directory: &Path, found: &mut Discovery) -> Vec<(PluginName, PathBuf)> {
    let mut paths = match list(directory) {
        Ok(paths) => paths,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => {
            let path = directory.into();
            found
                .problems
                .push(DiscoveryProblem::Directory { path, source });
            return Vec::new();
        }
    };
    // A fault of the directory is one of each of its files, and reported once.
    let is_safe = found.check(directory);
    paths.sort();
    let mut plugins = Vec::new();
    for path in paths {
        match examine(&path) {
            Ok(Some(name)) => {
                if is_safe {
                    found.check(&path);
                }
                plugins.push((name, path));
            }
            Ok(None) => {}
            Err(problem @ DiscoveryProblem::Backup { .. }) => found.warnings.push(problem),
            Err(problem) => found.problems.push(problem),
        }
    }
    plugins
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// Returns the name of the plugin in `path`, or `None` for hidden files and directories.
fn examine(path: &Path) -> Result<Option<PluginName>, DiscoveryProblem> {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    if hidden {
        return Ok(None);
    }
    let is_backup = path
        .file_name()
        .is_some_and(|name| names::is_backup(&name.to_string_lossy()));
    if is_backup && !path.is_dir() {
        return Err(DiscoveryProblem::Backup { path: path.into() });
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
            // Each file has bytes of its own.
            fs::write(&path, format!("#!/bin/sh\n: {}\n", path.display())).expect("a file");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the mode");
            path
        }

        fn discover(&self) -> Discovery {
            discover_in(&[], &[self])
        }
    }

    /// Nothing is chosen but the plugin `chosen`.
    fn discover_in(available: &[&PluginDirectory], running: &[&PluginDirectory]) -> Discovery {
        let mut config = Config::new("@test".parse().expect("an address"), "/state");
        let paths = |directories: &[&PluginDirectory]| -> Vec<PathBuf> {
            directories
                .iter()
                .map(|directory| directory.path().into())
                .collect()
        };
        config.available_dirs = paths(available);
        config.plugin_dirs = paths(running);
        discover(
            &config,
            |name| name.as_str() == "chosen",
            &mut Copies::default(),
        )
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
    fn an_invalid_file_is_reported_and_the_other_plugins_start() {
        let directory = PluginDirectory::new();
        directory.file("good", 0o755);
        directory.file("plain", 0o644);
        directory.file("with space", 0o755);
        directory.file("open", 0o777);
        std::os::unix::fs::symlink("/nowhere", directory.path().join("dangling")).expect("a link");
        let found = directory.discover();
        assert_eq!(names(&found), ["good", "open"]);
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
        let found = discover_in(&[], &[&first, &second]);
        assert_eq!(found.plugins.values().collect::<Vec<_>>(), [&path]);
        assert!(matches!(
            found.problems[..],
            [DiscoveryProblem::Shadowed { .. }]
        ));
    }

    #[test]
    fn a_missing_directory_is_empty_and_the_plugins_of_a_writable_one_are_refused() {
        let directory = PluginDirectory::new();
        let absent = PluginDirectory::new();
        fs::remove_dir(absent.path()).expect("removed");
        assert!(absent.discover().problems.is_empty());
        directory.file("file", 0o755);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("the mode");
        let found = directory.discover();
        assert_eq!(names(&found), ["file"]);
        assert!(matches!(
            found.problems[..],
            [DiscoveryProblem::Untrusted { .. }]
        ));
    }

    #[test]
    fn backups_are_skipped_and_reported_without_being_problems() {
        let directory = PluginDirectory::new();
        directory.file("vault", 0o755);
        directory.file("vault.bak", 0o755);
        directory.file("vault~", 0o644);
        fs::create_dir(directory.path().join("folder.old")).expect("a directory");
        let found = directory.discover();
        assert_eq!(names(&found), ["vault"]);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("vault.bak is not started"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_copy_is_reported_and_started() {
        let directory = PluginDirectory::new();
        let vault = directory.file("vault", 0o755);
        fs::copy(vault, directory.path().join("vault-2")).expect("copied");
        let found = directory.discover();
        assert_eq!(names(&found), ["vault", "vault-2"]);
        assert!(found.problems.is_empty());
        assert!(
            matches!(&found.warnings[..], [DiscoveryProblem::Copy { path, first }]
                if path.ends_with("vault-2") && first.as_str() == "vault")
        );
    }

    #[test]
    fn plugins_beside_the_program_are_available_until_enabled() {
        let (beside, own) = (PluginDirectory::new(), PluginDirectory::new());
        let chosen = beside.file("chosen", 0o755);
        let pass = beside.file("pass", 0o755);
        beside.file("vault", 0o755);
        own.file("chosen", 0o755);
        let vault = own.file("vault", 0o755);
        let found = discover_in(&[&beside], &[&own]);
        let plugins: Vec<_> = found
            .plugins
            .iter()
            .map(|(name, path)| (name.as_str(), path))
            .collect();
        assert_eq!(plugins, [("chosen", &chosen), ("vault", &vault)]);
        let available: Vec<_> = found.available.values().collect();
        assert_eq!(available, [&pass]);
        assert!(
            matches!(&found.problems[..], [DiscoveryProblem::Shadowed { first, .. }] if *first == chosen)
        );
    }
}
