//! The executable of a plugin.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::model::FileIdentity;

/// The executable of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchSource {
    pub(crate) executable: PathBuf,
    pub(crate) argv0: OsString,
    /// Which file that is, to notice that it was replaced; `None` if it cannot be examined.
    pub(crate) identity: Option<FileIdentity>,
    /// Variables handed on besides those of the allow-list and the configuration.
    pub(crate) pass_env: Vec<String>,
    /// `true` if it is part of the daemon's own executable, which needs no pin.
    pub(crate) is_built_in: bool,
    /// `true` if it lies in the folder beside the program: it runs only if the configuration mentions it or it was enabled.
    pub(crate) is_available_only: bool,
    /// `true` if only we and root could have written it when it was found. The launch decides about the file that it executes; this
    /// starts a plugin again if that changes.
    pub(crate) is_safe: bool,
}
