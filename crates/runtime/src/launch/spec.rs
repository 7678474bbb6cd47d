//! The specification of a launch.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::config::Sha256;
use crate::model::PluginName;

/// The specification of a launch.
#[derive(Clone)]
pub(crate) struct LaunchSpec {
    /// The plugin's name, for messages.
    pub(crate) name: PluginName,
    /// The executable.
    pub(crate) executable: PathBuf,
    /// The process's own name (`argv[0]`).
    pub(crate) argv0: OsString,
    /// The whole environment of the process.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// The checksum that the executable must have.
    pub(crate) sha256: Option<Sha256>,
    /// The source of the checksum.
    pub(crate) pinned_by: PinnedBy,
    /// `true` if the executable is the daemon's own: which users can write it is not checked, because it runs already.
    pub(crate) is_built_in: bool,
}

/// The source of a plugin's pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinnedBy {
    /// `sha256` in the configuration.
    Configuration,
    /// `keyway plugins trust`.
    Trust,
}

impl fmt::Debug for LaunchSpec {
    /// Leaves out the environment, whose values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchSpec")
            .field("name", &self.name)
            .field("executable", &self.executable)
            .field("sha256", &self.sha256)
            .field("is_built_in", &self.is_built_in)
            .finish_non_exhaustive()
    }
}
