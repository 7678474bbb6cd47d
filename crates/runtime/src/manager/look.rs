//! A look at the disk: the configuration file and the plugin directories. Everything here blocks.

use std::path::PathBuf;

use super::ReadConfig;
use super::reconcile::Sources;
use crate::config::{Config, ConfigError, Settings};
use crate::discovery::discover;
use crate::model::{FileIdentity, PluginName};
use crate::plugin::LaunchSource;

/// What a look at the disk came to.
pub(super) enum Looked {
    /// The configuration cannot be used; nothing else was looked at.
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
    /// What was passed over, a sentence each.
    pub(super) problems: Vec<String>,
}

/// Reads the configuration, if `read_config` is given, and the plugin directories that it names.
pub(super) fn look(read_config: Option<&ReadConfig>, config: Config) -> Looked {
    let config = match read_config.map(|read| read()) {
        Some(Err(error)) => return Looked::Failed(error),
        Some(Ok(new)) => {
            return Looked::Found {
                found: find(&new),
                config: Some(Box::new(new)),
            };
        }
        None => config,
    };
    Looked::Found {
        found: find(&config),
        config: None,
    }
}

/// The directories that may hold plugins.
pub(super) fn directories(config: &Config) -> Vec<PathBuf> {
    let all = config.available_dirs.iter().chain(&config.plugin_dirs);
    all.cloned().collect()
}

/// The executables of the plugin directories, and the built-in plugins that none of them replaces.
pub(super) fn find(config: &Config) -> Found {
    let discovery = discover(&directories(config));
    let problems = discovery.problems.iter().map(ToString::to_string).collect();
    let mut sources = Sources::new();
    for (name, executable) in discovery.plugins {
        let is_available_only = config
            .available_dirs
            .iter()
            .any(|directory| executable.starts_with(directory));
        let source = LaunchSource {
            argv0: executable.as_os_str().to_owned(),
            identity: FileIdentity::of(&executable),
            // An executable that replaces a built-in plugin needs what that would have got.
            pass_env: built_in_variables(config, &name),
            is_built_in: false,
            is_available_only,
            executable,
        };
        sources.insert(name, source);
    }
    for built_in in &config.bundled {
        sources
            .entry(built_in.name.clone())
            .or_insert_with(|| LaunchSource {
                executable: built_in.executable.clone(),
                argv0: built_in.argv0.clone(),
                identity: FileIdentity::of(&built_in.executable),
                pass_env: built_in.pass_env.clone(),
                is_built_in: true,
                is_available_only: false,
            });
    }
    Found { sources, problems }
}

fn built_in_variables(config: &Config, name: &PluginName) -> Vec<String> {
    let built_in = config
        .bundled
        .iter()
        .find(|built_in| built_in.name == *name);
    built_in
        .map(|built_in| built_in.pass_env.clone())
        .unwrap_or_default()
}

/// What is valid and probably a mistake, a sentence each.
pub(super) fn warnings(settings: &Settings, sources: &Sources) -> Vec<String> {
    let mut warnings = settings.config.warnings.clone();
    let absent = settings.names().filter(|name| {
        let plugin = settings.plugin(name);
        !sources.contains_key(*name) && plugin.enabled != Some(false) && !plugin.is_listed_external
    });
    for name in absent {
        let plugin = settings.plugin(name);
        let nearest = String::new();
        warnings.push(if plugin.is_listed_module {
            format!(
                "the access-control module {name} is in no plugin directory{nearest}: every request is denied until it runs, or until `[access] modules` does not list it"
            )
        } else {
            format!(
                "the configuration names the plugin {name}, which is in no plugin directory{nearest}: run `keyway plugins disable {name}`, or remove the table"
            )
        });
        if plugin.priority != 0
            && matches!(
                settings.config.external,
                crate::config::ExternalPlugins::Any
            )
        {
            warnings.push(format!(
                "any external plugin may register as {name}, which has a `priority`: name the external plugins in `[external] allow`"
            ));
        }
    }
    warnings
}
