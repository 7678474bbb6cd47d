//! A temporary home for a daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::Address;
use keyway_runtime::{Config, RestartPolicy};
use tempfile::TempDir;

use crate::daemon::PATIENCE;
use crate::processes::wait_until;
use crate::script::{Place, Script};

/// A temporary home for a daemon: a plugin directory, a socket, state.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    /// The executable that every plugin is.
    executable: PathBuf,
}

impl Home {
    /// A home whose plugins are all links to `executable`, which is usually the misbehaving plugin.
    pub fn new(executable: impl AsRef<Path>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("plugins")).expect("a plugin directory");
        Self {
            directory,
            executable: executable.as_ref().into(),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a plugin of that name into the plugin directory.
    pub fn add(&self, name: &str) {
        std::os::unix::fs::symlink(&self.executable, self.path().join("plugins").join(name))
            .expect("a link");
    }

    /// Puts a plugin of that name into the plugin directory that does what the script says.
    pub fn play(&self, name: &str, script: &Script) {
        self.change(name, script);
        self.add(name);
    }

    /// Puts a plugin of that name into the plugin directory, as a file of its own.
    pub fn copy(&self, name: &str) {
        std::fs::copy(&self.executable, self.plugin(name)).expect("a copy");
    }

    /// Replaces the script of a plugin, which follows with its next request.
    pub fn change(&self, name: &str, script: &Script) {
        Place::new(self.path(), name).write(script);
    }

    /// The executable that every plugin is.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The path of a plugin in the plugin directory.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.path().join("plugins").join(name)
    }

    /// What a plugin with a script noted so far: `asked ID may_ask=BOOL`, `checked ID`, `turn VIA METHOD OUTCOME`, `registered`,
    /// `holds`.
    pub fn events(&self, name: &str) -> Vec<String> {
        Place::new(self.path(), name).events()
    }

    /// Waits until a plugin has noted so many events that begin with `prefix`, and returns them.
    ///
    /// # Panics
    ///
    /// If that does not happen.
    pub async fn wait_for_events(&self, name: &str, prefix: &str, n_events: usize) -> Vec<String> {
        let found = || {
            let events = self.events(name).into_iter();
            events
                .filter(|event| event.starts_with(prefix))
                .collect::<Vec<_>>()
        };
        let is_met = wait_until(PATIENCE, || found().len() >= n_events).await;
        let found = found();
        assert!(is_met, "{name} noted only {found:?} of {n_events} {prefix}");
        found
    }

    /// Takes it out again.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join("plugins").join(name)).expect("the plugin was there");
    }

    /// The configuration for a daemon in this home. Plugins that fail are tried again soon.
    pub fn config(&self) -> Config {
        let address: Address = self.path().join("daemon.sock").into();
        let mut config = Config::new(address, self.path().join("state"));
        config.plugin_dirs = vec![self.path().join("plugins")];
        config.restart = RestartPolicy::default();
        config.restart.initial = Duration::from_millis(20);
        config.restart.maximum = Duration::from_millis(20);
        config.restart.max_failures = 3;
        config.removal_grace = Duration::from_millis(100);
        config
    }
}
