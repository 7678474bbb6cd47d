//! What a plugin is launched from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::PluginConfig;

/// What to launch, with the settings that apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchSource {
    pub(crate) executable: PathBuf,
    pub(crate) argv0: OsString,
    /// Which file that is, to notice that it was replaced.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) config: Arc<PluginConfig>,
    /// Variables handed on besides those of the allow-list and the configuration.
    pub(crate) pass_env: Vec<String>,
    /// Whether it may be started: with pinning on, a file without a checksum may not.
    pub(crate) may_start: bool,
}

impl LaunchSource {
    /// Whether a running process does not show what `other` says.
    pub(crate) fn needs_fresh_process(&self, other: &Self) -> bool {
        let at_start = |source: &Self| {
            let PluginConfig {
                env,
                pass_env,
                sha256,
                concurrency,
                ..
            } = (*source.config).clone();
            (env, pass_env, sha256, concurrency)
        };
        self.executable != other.executable
            || self.fingerprint != other.fingerprint
            || at_start(self) != at_start(other)
    }
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    inode: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
}

impl Fingerprint {
    /// Of the file at `path`, links followed; `None` when it cannot be examined.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata().ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}
