//! A scan of the disk: the configuration file and the plugin directories. Everything here blocks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_local::file::check_owners;
use keyway_local::with_causes;

use super::ReadConfig;
use super::changes::DiskChanges;
use super::discovery::{Copies, DiscoveryProblem, discover};
use super::reconcile::Sources;
use crate::config::{
    BuiltInPlugin, Config, ConfigError, Settings, absent_warnings, external_priority_warnings,
};
use crate::model::{FileIdentity, PluginName};
use crate::plugin::LaunchSource;
use crate::record::{Memory, check_audit};
use crate::registry::Snapshot;

/// The result of a scan.
pub(super) enum ScanResult {
    /// The configuration cannot be used; nothing else was scanned.
    Failed(ConfigError),
    Found {
        /// The configuration as it is now; `None` if it was not read again.
        config: Option<Box<Config>>,
        found: Found,
    },
}

/// The plugins on disk.
pub(super) struct Found {
    pub(super) sources: Sources,
    /// Skipped files, a sentence each.
    pub(super) problems: Vec<String>,
    /// Probable mistakes, a sentence each.
    pub(super) warnings: Vec<String>,
}

/// Scans the disk, one scan at a time.
pub(super) struct Scanner {
    memory: Arc<Memory>,
    /// The comparisons of plugin files.
    copies: Mutex<Copies>,
}

impl Scanner {
    pub(super) fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            copies: Mutex::default(),
        })
    }

    /// Reads the configuration, if `read_config` is given, and the plugin directories that it names, whose `changes` are noticed
    /// from then on.
    pub(super) fn scan(
        &self,
        read_config: Option<&ReadConfig>,
        config: Config,
        changes: &mut DiskChanges,
    ) -> ScanResult {
        let (config, is_new) = match read_config.map(|read| read()) {
            Some(Err(error)) => return ScanResult::Failed(error),
            Some(Ok(new)) => {
                // One that was usable when it was configured is reported by its writer.
                let changed = new.audit.as_ref().filter(|_| new.audit != config.audit);
                if let Some(Err(error)) = changed.map(check_audit) {
                    return ScanResult::Failed(error);
                }
                (new, true)
            }
            None => (config, false),
        };
        // Before the scan, so that no change falls between the two.
        if config.watch {
            changes.watch(&directories(&config));
        } else {
            changes.stop();
        }
        ScanResult::Found {
            found: self.find(&config),
            config: is_new.then(|| Box::new(config)),
        }
    }

    /// Returns the executables of the plugin directories, and the built-in plugins that no chosen one of them replaces.
    fn find(&self, config: &Config) -> Found {
        let is_chosen = |name: &PluginName| {
            config.mentions(name) || self.memory.plugin(name).decision() == Some(true)
        };
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let discovery = discover(config, is_chosen, &mut copies);
        let texts = |problems: &[DiscoveryProblem]| -> Vec<String> {
            problems
                .iter()
                .map(|problem| with_causes(problem))
                .collect()
        };
        let (problems, warnings) = (texts(&discovery.problems), texts(&discovery.warnings));
        let mut sources = Sources::new();
        for (name, executable) in discovery.plugins {
            let source = source(config, &name, executable, false);
            sources.insert(name, source);
        }
        for built_in in &config.built_in {
            sources
                .entry(built_in.name.clone())
                .or_insert_with(|| built_in_source(built_in));
        }
        // Last: an executable that is not chosen takes the place of nothing, the built-in store least of all.
        for (name, executable) in discovery.available {
            let source = source(config, &name, executable, true);
            sources.entry(name).or_insert(source);
        }
        Found {
            sources,
            problems,
            warnings,
        }
    }
}

/// Returns the directories that may hold plugins.
fn directories(config: &Config) -> Vec<PathBuf> {
    let all = config.available_dirs.iter().chain(&config.plugin_dirs);
    all.cloned().collect()
}

fn source(
    config: &Config,
    name: &PluginName,
    executable: PathBuf,
    is_available_only: bool,
) -> LaunchSource {
    // An executable that replaces a built-in plugin needs that plugin's variables.
    let built_in = config
        .built_in
        .iter()
        .find(|built_in| built_in.name == *name);
    LaunchSource {
        argv0: executable.as_os_str().to_owned(),
        identity: FileIdentity::of(&executable),
        pass_env: built_in
            .map(|built_in| built_in.pass_env.clone())
            .unwrap_or_default(),
        is_built_in: false,
        is_available_only,
        is_safe: check_owners(&executable).is_ok(),
        executable,
    }
}

fn built_in_source(built_in: &BuiltInPlugin) -> LaunchSource {
    LaunchSource {
        executable: built_in.executable.clone(),
        argv0: built_in.argv0.clone(),
        identity: FileIdentity::of(&built_in.executable),
        pass_env: built_in.pass_env.clone(),
        is_built_in: true,
        is_available_only: false,
        is_safe: true,
    }
}

/// Returns the settings that are valid and probably a mistake, a sentence each.
pub(super) fn warnings(
    settings: &Settings,
    sources: &Sources,
    snapshot: &Snapshot,
    memory: &Memory,
) -> Vec<String> {
    let is_launched = |name: &PluginName| sources.contains_key(name);
    let is_connected = |name: &PluginName| {
        snapshot
            .get(name)
            .is_some_and(|view| view.handle().is_some())
    };
    let is_disabled = |name: &PluginName| {
        let decision = memory.plugin(name).decision();
        decision.or(settings.plugin(name).enabled) == Some(false)
    };
    let absent = absent_warnings(
        settings,
        |name| is_launched(name) || is_connected(name),
        is_disabled,
        sources.keys().chain(snapshot.keys()),
    );
    let mut warnings = settings.config.warnings.clone();
    warnings.extend(absent);
    warnings.extend(external_priority_warnings(settings, is_launched));
    warnings
}
