//! The configuration of the daemon: a plain structure, the file that fills it, and the settings in force.

mod absent;
mod current;
mod diff;
mod document;
mod file;
mod keys;
mod listing;
mod nearest;
mod restart;
mod settings;
mod source;
mod values;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use keyway_local::Address;
use keyway_proto::limits;
use keyway_secrets::Pattern;

use crate::model::PluginName;
pub(crate) use crate::model::Sha256;

pub(crate) use absent::{absent_warnings, external_priority_warnings};
pub(crate) use current::Current;
pub(crate) use diff::Difference;
pub use file::ConfigError;
pub use listing::ListedSetting;
pub use restart::RestartPolicy;
pub(crate) use settings::{PluginSettings, Settings};
pub use source::{ConfigChoice, ConfigSource};
pub use variables::Variables;

/// The configuration of a daemon. Start from [`Config::new`], then set the fields that differ.
///
/// It knows neither the command line nor the environment of this process, so that tests can run many daemons side by side.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The addresses at which clients and external plugins connect. The first is the daemon's own.
    pub listen: Vec<Address>,
    /// Further addresses, for peers that look elsewhere. One that is taken or cannot be bound is logged.
    pub listen_also: Vec<Address>,
    /// `true` if the daemon also listens at the abstract name of the protocol's reference implementation, unless addresses were
    /// given (`abstract`, default: true). Read by the program that fills [`listen_also`](Self::listen_also).
    pub abstract_socket: bool,
    /// `true` if the daemon also listens at Docker's `engine.sock` where that is free, unless addresses were given
    /// (`docker_socket`, default: true). Read by the program that fills [`listen_also`](Self::listen_also).
    pub docker_socket: bool,
    /// Directories whose executables are launched as they appear; the first one that has a name wins it.
    pub plugin_dirs: Vec<PathBuf>,
    /// Directories whose executables are launched if the configuration mentions their name or the user enabled them. They are
    /// scanned before [`plugin_dirs`](Self::plugin_dirs).
    pub available_dirs: Vec<PathBuf>,
    /// `true` if changes in those directories are noticed at once (default: true), or by a reload only.
    pub watch: bool,
    /// Users that may connect besides our own.
    pub allow_uids: BTreeSet<u32>,
    /// Which external plugins may register (`[external] allow`).
    pub external: ExternalPlugins,
    /// Access-control modules that must be running for any secret to be given out.
    pub access_modules: BTreeSet<PluginName>,
    /// `true` if callers in other pid namespaces may resolve at abstract addresses (`[access] contained`).
    pub access_contained: bool,
    /// The provider that stores secrets for clients, unless they name one (`[store] default`, default: `file`).
    pub store_default: PluginName,
    /// `true` if `POST /internal/secrets` is served, with which programs of Docker's ecosystem store secrets (`[store] docker_writes`,
    /// default: false).
    pub docker_writes: bool,
    /// The audit log; none unless configured.
    pub audit: Option<AuditConfig>,
    /// The configuration of single plugins.
    pub plugins: BTreeMap<PluginName, PluginConfig>,
    /// The directory in which the daemon keeps decisions, pins and registrations.
    pub state_dir: PathBuf,
    /// The environment that plugins may be given parts of.
    pub environment: Vec<(OsString, OsString)>,
    /// Plugins that are part of the program, each unless a plugin directory has one of the same name.
    pub built_in: Vec<BuiltInPlugin>,
    /// The version that the daemon reports.
    pub version: VersionInfo,
    /// Limit for a start where nothing else is configured (default: 5 s).
    pub start_timeout: Duration,
    /// Limit for one request to a plugin where nothing else is configured (default: 10 s).
    pub request_timeout: Duration,
    /// Limit for one request that may ask the user, where nothing else is configured (default: 2 min).
    pub user_timeout: Duration,
    /// Bytes that the responses of providers may have together while they are read and sent on, counting those above
    /// 64 KiB (default: [`Config::DEFAULT_ANSWER_MEMORY`]). A response that exceeds it waits for memory, as long as its
    /// request may take.
    pub answer_memory: u64,
    /// `true` if the daemon adopts and reaps processes that its plugins leave behind (default: false). It then reaps every child of
    /// this process that is not a plugin, so only a program that starts no other processes may set it.
    pub adopt_orphans: bool,
    /// The delays between the starts of a plugin that ended unexpectedly.
    pub restart: RestartPolicy,
    /// The time for which the connection of a plugin may be idle until the plugin is pinged (default: 30 s). One that does not
    /// respond for a third of that time, and that no signal has stopped, is replaced.
    pub keep_alive: Duration,
    /// The time for which a plugin whose file has vanished keeps running (default: 10 s), because files are replaced in several steps.
    pub removal_grace: Duration,
    /// The file that was read last into this configuration, if any.
    pub file: Option<PathBuf>,
    /// The SHA-256 of the bytes of that file, or of nothing.
    pub hash: Sha256,
    /// Settings of that file that are valid and probably a mistake, a sentence each.
    pub warnings: Vec<String>,
    /// The line of each key in that file.
    pub(crate) lines: BTreeMap<String, usize>,
}

impl Config {
    /// Memory that large responses share where nothing is configured: 256 MiB.
    pub const DEFAULT_ANSWER_MEMORY: u64 = 256 * 1024 * 1024;

    /// Creates the configuration of a daemon that listens at `listen`, keeps its state in `state_dir`, and has no plugins.
    pub fn new(listen: Address, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: vec![listen],
            listen_also: Vec::new(),
            abstract_socket: true,
            docker_socket: true,
            plugin_dirs: Vec::new(),
            available_dirs: Vec::new(),
            watch: true,
            allow_uids: BTreeSet::new(),
            external: ExternalPlugins::Any,
            access_modules: BTreeSet::new(),
            access_contained: false,
            store_default: file_provider(),
            docker_writes: false,
            audit: None,
            plugins: BTreeMap::new(),
            state_dir: state_dir.into(),
            environment: Vec::new(),
            built_in: Vec::new(),
            version: VersionInfo::default(),
            start_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            user_timeout: Duration::from_secs(120),
            answer_memory: Self::DEFAULT_ANSWER_MEMORY,
            adopt_orphans: false,
            restart: RestartPolicy::default(),
            keep_alive: Duration::from_secs(30),
            removal_grace: Duration::from_secs(10),
            file: None,
            hash: Sha256::of(b""),
            warnings: Vec::new(),
            lines: BTreeMap::new(),
        }
    }

    /// Returns whether the configuration mentions the name: in a table, in `[access] modules` or in a list of
    /// `[external] allow`.
    pub(crate) fn mentions(&self, name: &PluginName) -> bool {
        self.plugins.contains_key(name)
            || self.access_modules.contains(name)
            || self.external.names().any(|listed| listed == name)
    }

    /// Returns the configuration of `name`, or the defaults.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginConfig {
        self.plugins.get(name).cloned().unwrap_or_default()
    }
}

/// Which external plugins may register (`[external] allow`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExternalPlugins {
    /// Any name that no launched plugin has (`true`, the default).
    #[default]
    Any,
    /// None (`false`).
    None,
    /// Only these.
    Named(BTreeSet<PluginName>),
}

impl ExternalPlugins {
    /// Returns whether an external plugin of this name may register.
    pub fn allows(&self, name: &PluginName) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Named(names) => names.contains(name),
        }
    }

    /// Returns the names of a list; none unless there is one.
    pub fn names(&self) -> impl Iterator<Item = &PluginName> {
        match self {
            Self::Named(names) => Some(names),
            Self::Any | Self::None => None,
        }
        .into_iter()
        .flatten()
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
    /// Number of former files that are kept, `PATH.1` being the newest (default: 5).
    pub keep: u32,
    /// The treatment of a request that cannot be recorded.
    pub on_failure: AuditFailure,
}

impl AuditConfig {
    /// Creates the log at `path` with the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 1024 * 1024,
            keep: 5,
            on_failure: AuditFailure::default(),
        }
    }
}

/// The treatment of a request that the audit log cannot record (`[audit] on_failure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AuditFailure {
    /// It is served, and the failure is logged (`continue`, the default).
    #[default]
    Continue,
    /// It is refused with `unavailable` (`refuse`).
    Refuse,
}

/// The configuration of one plugin (`[plugins.NAME]`). `None` and empty collections mean the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PluginConfig {
    /// `true` if it runs. `None`: unless it was disabled with `keyway plugins disable`.
    pub enabled: Option<bool>,
    /// The limit of its realm, as 1 to 64 patterns. `None`: the registered realm.
    pub realm: Option<Vec<Pattern>>,
    /// The rank among providers, higher first (default: 0; `file`: -1).
    pub priority: Option<i64>,
    /// `true` if its failure fails every pattern query that overlaps its realm.
    pub required: bool,
    /// Limit for one request to it (default: [`Config::request_timeout`]).
    pub timeout: Option<Duration>,
    /// Limit for a start, from the fork to the response to the registration (default: [`Config::start_timeout`]).
    pub start_timeout: Option<Duration>,
    /// Limit for one request that may ask the user (default: [`Config::user_timeout`]).
    pub user_timeout: Option<Duration>,
    /// The most calls in flight, 1 to [`PluginConfig::MAX_CONCURRENCY`]. `None`: the number in the plugin's description.
    pub concurrency: Option<usize>,
    /// Variables set in its environment.
    pub env: Variables,
    /// Variables of the daemon's environment that it gets besides the usual ones.
    pub pass_env: Vec<String>,
    /// The SHA-256 that its executable must have.
    pub sha256: Option<Sha256>,
    /// The time for which its responses may be reused. `None`: never. For `file` it has no effect, and a configuration file is refused
    /// that sets it.
    pub cache_ttl: Option<Duration>,
    /// Exit statuses after which a restart is pointless (default: 78).
    pub fatal_exit: Option<BTreeSet<i32>>,
    /// The patterns that its processes may resolve (default: nothing).
    pub may_resolve: Vec<Pattern>,
    /// `true` if a call may ask the user; wins over the plugin's description.
    pub interactive: Option<bool>,
    /// `true` if equal requests may share one response; wins over the plugin's description.
    pub shareable: Option<bool>,
    /// `true` if it can list the secrets that match a pattern; wins over the plugin's description.
    pub lists: Option<bool>,
}

impl PluginConfig {
    /// The limit of concurrent calls if neither the configuration nor the description of a plugin sets one.
    pub const DEFAULT_CONCURRENCY: usize = limits::DEFAULT_CONCURRENCY as usize;

    /// The most calls that a plugin can be given at once.
    pub const MAX_CONCURRENCY: usize = limits::MAX_CONCURRENCY as usize;

    /// The exit status after which a restart is pointless where nothing is configured.
    pub const DEFAULT_FATAL_EXIT: i32 = 78;
}

/// Returns `true` if responses of this plugin may be reused: not those of `file`, where a secret that was just stored must be
/// found.
pub(crate) fn may_be_cached(name: &PluginName) -> bool {
    name.as_str() != FILE_PROVIDER
}

/// The reserved name of the default provider.
const FILE_PROVIDER: &str = "file";

/// Returns the reserved name of the default provider.
fn file_provider() -> PluginName {
    FILE_PROVIDER
        .parse()
        .expect("a constant that is a plugin name")
}

/// A plugin that is part of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuiltInPlugin {
    /// Its name.
    pub name: PluginName,
    /// The executable, usually the daemon's own.
    pub executable: PathBuf,
    /// The process's own name (`argv[0]`), by which the program selects its role.
    pub argv0: OsString,
    /// Variables of the daemon's environment that it gets besides the usual ones.
    pub pass_env: Vec<String>,
}

impl BuiltInPlugin {
    /// Creates the plugin `name`, which is `executable` under the name `argv0`.
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

/// The version of the daemon (`health.v1.VersionService`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// A Go semver: begins with `v`.
    pub version: String,
    /// Date of the build; empty if unknown.
    pub date: String,
    /// The commit that it was built from; empty if unknown.
    pub commit: String,
}

impl VersionInfo {
    /// Creates a version without date and commit.
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
