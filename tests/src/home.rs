//! A home whose plugins follow scripts.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_runtime::{Config, RestartPolicy};
use keyway_test_support::wait::asynchronous::eventually;

use crate::script::{Place, Script};

/// A home with a plugin directory. All its plugins are one executable, usually the misbehaving plugin.
#[derive(Debug)]
pub struct Home {
    home: keyway_test_support::Home,
    executable: PathBuf,
}

impl Deref for Home {
    type Target = keyway_test_support::Home;

    fn deref(&self) -> &Self::Target {
        &self.home
    }
}

impl Home {
    /// A home whose plugins are links to `executable`.
    pub fn new(executable: impl AsRef<Path>) -> Self {
        let home = keyway_test_support::Home::new();
        home.create_dir("plugins");
        Self {
            home,
            executable: executable.as_ref().into(),
        }
    }

    /// Puts a plugin of that name into the plugin directory.
    pub fn add(&self, name: &str) {
        std::os::unix::fs::symlink(&self.executable, self.plugin(name)).expect("a link");
    }

    /// Puts a plugin of that name into the plugin directory that follows a script.
    pub fn play(&self, name: &str, script: &Script) {
        self.change(name, script);
        self.add(name);
    }

    /// Puts a plugin of that name into the plugin directory, as a file of its own.
    pub fn copy(&self, name: &str) {
        self.install(&self.executable, name);
    }

    /// Replaces the script of a plugin, which applies from its next request.
    pub fn change(&self, name: &str, script: &Script) {
        Place::new(self.path(), name).write(script);
    }

    /// The executable of every plugin.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The path of a plugin in the plugin directory.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.join("plugins").join(name)
    }

    /// The events that a plugin with a script has recorded so far: `queried ID may_prompt=BOOL`, `checked ID`, `called VIA METHOD OUTCOME`, `registered`,
    /// `holds`.
    pub fn events(&self, name: &str) -> Vec<String> {
        Place::new(self.path(), name).events()
    }

    /// Removes the recorded events of a plugin, so that a long test does not fill the disk.
    pub fn clear_events(&self, name: &str) {
        Place::new(self.path(), name).clear_events();
    }

    /// Waits until a plugin has recorded `n_events` events that begin with `prefix`, and returns all of them.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for_events(&self, name: &str, prefix: &str, n_events: usize) -> Vec<String> {
        eventually(
            &format!("{n_events} events {prefix} of {name}"),
            async || {
                let mut events = self.events(name);
                events.retain(|event| event.starts_with(prefix));
                if events.len() >= n_events {
                    Ok(events)
                } else {
                    Err(events)
                }
            },
        )
        .await
    }

    /// Removes a plugin from the plugin directory.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.plugin(name)).expect("a plugin");
    }

    /// The configuration for a daemon in this home. Plugins that fail are restarted soon.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.socket().into(), self.join("state"));
        config.plugin_dirs = vec![self.join("plugins")];
        config.restart = RestartPolicy::default();
        config.restart.initial = Duration::from_millis(20);
        config.restart.maximum = Duration::from_millis(20);
        config.restart.max_failures = 3;
        config.removal_grace = Duration::from_millis(100);
        config
    }
}
