//! Which executables may run: with pinning on, only those whose checksum is configured or was trusted by a person.

use crate::config::{Config, PluginConfig, Sha256};
use crate::launch::LaunchError;
use crate::name::PluginName;

/// Why an executable was not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// No plugin of a plugin directory has the name.
    #[error("there is no executable of that name in a plugin directory: {name}")]
    Unknown {
        /// The name.
        name: PluginName,
    },
    /// The plugin is part of the daemon's own executable.
    #[error("{name} is part of the daemon's own executable, which is not pinned")]
    Bundled {
        /// The plugin.
        name: PluginName,
    },
    /// Configuration pins the plugin, and what it decides cannot be decided over RPC.
    #[error("configuration pins {name}: change `sha256` there")]
    Configured {
        /// The plugin.
        name: PluginName,
    },
    /// The executable cannot be read, or must not run whatever its checksum is.
    #[error(transparent)]
    Executable(#[from] LaunchError),
}

/// Whether executables need a checksum: as soon as configuration gives one for any plugin.
fn pinning_is_on(config: &Config) -> bool {
    config
        .plugins
        .values()
        .any(|plugin| plugin.sha256.is_some())
}

/// The settings of a plugin found in a plugin directory, with the checksum that a person trusted where configuration has
/// none, and whether it may be started at all.
pub(crate) fn settings(
    config: &Config,
    name: &PluginName,
    trusted: Option<Sha256>,
) -> (PluginConfig, bool) {
    let mut plugin = config.plugin(name);
    plugin.sha256 = plugin.sha256.or(trusted);
    let may_start = plugin.sha256.is_some() || !pinning_is_on(config);
    (plugin, may_start)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use keyway_local::Address;

    use super::*;

    #[test]
    fn l16_with_pinning_on_a_plugin_needs_a_checksum() {
        let name = |text: &str| text.parse::<PluginName>().expect("a name");
        let (one, two) = (Sha256([1; 32]), Sha256([2; 32]));
        let mut config = Config::new(
            Address::from(PathBuf::from("/nonexistent/daemon.sock")),
            "/nonexistent",
        );
        assert!(settings(&config, &name("new"), None).1);
        assert_eq!(
            settings(&config, &name("new"), Some(two)).0.sha256,
            Some(two)
        );

        let pinned = PluginConfig {
            sha256: Some(one),
            ..PluginConfig::default()
        };
        config.plugins.insert(name("pinned"), pinned);
        assert!(!settings(&config, &name("new"), None).1);
        assert!(settings(&config, &name("new"), Some(two)).1);
        let (plugin, may_start) = settings(&config, &name("pinned"), Some(two));
        assert_eq!((plugin.sha256, may_start), (Some(one), true));
    }
}
