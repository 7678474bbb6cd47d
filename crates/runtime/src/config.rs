//! What the daemon is told: a plain structure, and the configuration file that fills it.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use keyway_local::Address;
use keyway_secrets::Pattern;

use crate::name::PluginName;
use crate::supervisor::RestartPolicy;

pub use file::ConfigError;

/// Everything that the daemon needs to know. Start from [`Config::new`], then set what differs.
///
/// It knows neither the command line nor the environment of this process, so that tests can run many daemons side by side.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where programs and hand-started plugins connect. The first is the daemon's own address.
    pub listen: Vec<Address>,
    /// Further addresses, for peers that look elsewhere. One that cannot be had is reported and passed over.
    pub listen_also: Vec<Address>,
    /// Directories whose executables are launched as plugins; the first one that has a name wins it.
    pub plugin_dirs: Vec<PathBuf>,
    /// Whether changes in those directories are picked up by themselves (default: yes), or by a reload only.
    pub watch: bool,
    /// Users that may connect besides our own.
    pub allow_uids: BTreeSet<u32>,
    /// Which plugins may be started by hand.
    pub manual: ManualPlugins,
    /// Access-control modules that must be running for any secret to be given out.
    pub access_modules: BTreeSet<PluginName>,
    /// The audit log; none unless configured.
    pub audit: Option<AuditConfig>,
    /// What is configured for single plugins.
    pub plugins: BTreeMap<PluginName, PluginConfig>,
    /// Where the daemon remembers which plugins are disabled and what realms they had.
    pub state_dir: PathBuf,
    /// The environment that plugins may be given parts of.
    pub environment: Vec<(OsString, OsString)>,
    /// Plugins that come with the program itself, each unless a plugin directory has one of the same name.
    pub bundled: Vec<BundledPlugin>,
    /// What the daemon says about itself.
    pub version: VersionInfo,
    /// How long a plugin may take to register (default: 5 s).
    pub registration_timeout: Duration,
    /// How long one request to a plugin may take where nothing else is configured (default: 10 s).
    pub request_timeout: Duration,
    /// How many bytes the answers of providers may have together while they are read and sent on, counting those above
    /// 64 KiB (default: [`Config::DEFAULT_ANSWER_MEMORY`]). Answers that find no room wait for it, as long as their request
    /// may take.
    pub answer_memory: u64,
    /// How plugins that ended unasked are started again.
    pub restart: RestartPolicy,
}

impl Config {
    /// How much memory large answers share where nothing is configured: 256 MiB.
    pub const DEFAULT_ANSWER_MEMORY: u64 = 256 * 1024 * 1024;

    /// The configuration of a daemon that listens at `listen`, keeps its state in `state_dir`, and has no plugins.
    pub fn new(listen: Address, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: vec![listen],
            listen_also: Vec::new(),
            plugin_dirs: Vec::new(),
            watch: true,
            allow_uids: BTreeSet::new(),
            manual: ManualPlugins::Any,
            access_modules: BTreeSet::new(),
            audit: None,
            plugins: BTreeMap::new(),
            state_dir: state_dir.into(),
            environment: Vec::new(),
            bundled: Vec::new(),
            version: VersionInfo::default(),
            registration_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            answer_memory: Self::DEFAULT_ANSWER_MEMORY,
            restart: RestartPolicy::default(),
        }
    }

    /// What is configured for `name`, or the defaults.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginConfig {
        self.plugins.get(name).cloned().unwrap_or_default()
    }

    /// How long one request to `name` may take.
    pub(crate) fn timeout_of(&self, name: &PluginName) -> Duration {
        self.plugins
            .get(name)
            .and_then(|plugin| plugin.timeout)
            .unwrap_or(self.request_timeout)
    }
}

/// Which plugins may be started by hand (`[manual] allow`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ManualPlugins {
    /// Any name that no launched plugin has (`true`, the default).
    #[default]
    Any,
    /// None (`false`).
    None,
    /// Only these.
    Named(BTreeSet<PluginName>),
}

impl ManualPlugins {
    /// Whether a plugin of this name may be started by hand.
    pub fn allows(&self, name: &PluginName) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Named(names) => names.contains(name),
        }
    }
}

/// The audit log (`[audit]`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditConfig {
    /// The file; created with mode 0600.
    pub path: PathBuf,
    /// The size at which the file is renamed to `PATH.1` and begun anew (default: 1 MiB).
    pub max_bytes: u64,
    /// What happens to a request that cannot be recorded.
    pub on_failure: AuditFailure,
}

impl AuditConfig {
    /// The log at `path` with the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 1024 * 1024,
            on_failure: AuditFailure::default(),
        }
    }
}

/// What happens to a request that the audit log cannot record (`[audit] on_failure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AuditFailure {
    /// It is answered, and the failure is logged (`continue`, the default).
    #[default]
    Continue,
    /// It is refused with `unavailable` (`refuse`).
    Refuse,
}

/// What is configured for one plugin (`[plugins.NAME]`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PluginConfig {
    /// Whether it runs. `None`: unless it was disabled with `keyway plugins disable`.
    pub enabled: Option<bool>,
    /// The realm that its registered pattern is cut to.
    pub realm: Option<Pattern>,
    /// Whose answer counts when two providers answer one id: the higher number. `None`: launched beats hand-started.
    pub priority: Option<i64>,
    /// Whether its failure makes the whole answer `unavailable` instead of partial.
    pub required: bool,
    /// How long one request to it may take.
    pub timeout: Option<Duration>,
    /// How many requests it gets at once (default: [`PluginConfig::DEFAULT_CONCURRENCY`]); others wait their turn.
    pub concurrency: Option<usize>,
    /// Variables set in its environment.
    pub env: BTreeMap<String, String>,
    /// Variables of the daemon's environment that it gets besides the usual ones.
    pub pass_env: Vec<String>,
    /// The SHA-256 that its executable must have.
    pub sha256: Option<Sha256>,
    /// How long its answers may be reused. `None`: never. For `file` it has no effect, and a configuration file is refused
    /// that sets it.
    pub cache_ttl: Option<Duration>,
}

impl PluginConfig {
    /// How many requests a plugin gets at once where nothing is configured.
    pub const DEFAULT_CONCURRENCY: usize = 64;
}

/// Whether answers of this plugin may be used again: not those of `file`, where what was just stored must be found.
pub(crate) fn may_be_cached(name: &PluginName) -> bool {
    name.as_str() != "file"
}

/// A SHA-256 checksum, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("a SHA-256 checksum has 64 hexadecimal digits: {text:?} is none");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut checksum = [0; 32];
        for (byte, digits) in checksum.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(checksum))
    }
}

/// A plugin that comes with the program (`bundled`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundledPlugin {
    /// Its name.
    pub name: PluginName,
    /// The executable, usually the daemon's own.
    pub executable: PathBuf,
    /// What the process sees as its own name (`argv[0]`), by which it knows what to be.
    pub argv0: OsString,
    /// Variables of the daemon's environment that it gets besides the usual ones.
    pub pass_env: Vec<String>,
}

impl BundledPlugin {
    /// The plugin `name`, which is `executable` under the name `argv0`.
    pub fn new(
        name: PluginName,
        executable: impl Into<PathBuf>,
        argv0: impl Into<OsString>,
    ) -> Self {
        Self {
            name,
            executable: executable.into(),
            argv0: argv0.into(),
            pass_env: Vec::new(),
        }
    }
}

/// What the daemon says about itself (`health.v1.VersionService`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// A Go semver: begins with `v`.
    pub version: String,
    /// When it was built; empty when unknown.
    pub date: String,
    /// What it was built from; empty when unknown.
    pub commit: String,
}

impl VersionInfo {
    /// A version without date and commit.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            date: String::new(),
            commit: String::new(),
        }
    }
}

impl Default for VersionInfo {
    fn default() -> Self {
        Self::new(concat!("v", env!("CARGO_PKG_VERSION")))
    }
}
