//! The reasons why a pin was not set or removed.

use crate::launch::LaunchError;
use crate::model::PluginName;
use crate::record::NotWritten;

/// Error of trusting an executable.
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
    #[error(
        "{name} is part of the daemon's own executable, which is not pinned. It runs without a pin"
    )]
    BuiltIn {
        /// The plugin.
        name: PluginName,
    },
    /// Configuration pins the plugin, and its decisions cannot be changed over RPC.
    #[error(
        "the configuration pins {name}. Change `sha256` in `[plugins.{name}]` there, then run `keyway plugins reload`"
    )]
    Configured {
        /// The plugin.
        name: PluginName,
    },
    /// The plugin has no pin that the user trusted.
    #[error(
        "{name} is not pinned, so there is nothing to take back. Run `keyway plugins` to see its state"
    )]
    NotTrusted {
        /// The plugin.
        name: PluginName,
    },
    /// The executable cannot be read, or must not run whatever its checksum is.
    #[error(transparent)]
    Executable(#[from] LaunchError),
    /// The pin was set or taken back, and the change is not on disk.
    #[error(transparent)]
    NotRemembered(#[from] NotWritten),
}
