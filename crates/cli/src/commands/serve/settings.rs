//! What the daemon is configured with: flags first, then the environment, then the file, then the defaults.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_local::file::{OpenError, shell_quote};
use keyway_local::{Address, ListenOptions, Places, SOCKET_VARIABLE};
use keyway_plugin_file::{IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE, STORE_VARIABLE};
use keyway_runtime::{BundledPlugin, Config, ConfigChoice, ConfigError, ConfigSource, VersionInfo};

use super::Options;
use crate::bundled;
use crate::failure::Failure;

/// Which configuration is read, and where the daemon remembers things.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigOptions {
    /// Read this file [default: `keyway/config.toml` in $XDG_CONFIG_HOME, if it exists].
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    pub(crate) config: Option<PathBuf>,
    /// Read no file, and forget the one that was in force before.
    #[arg(long)]
    pub(crate) no_config: bool,
    /// Remember decisions, pins and registrations in this directory [default: `keyway` in $XDG_STATE_HOME]. Two daemons need
    /// two directories.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// Where the configuration comes from besides the command line's addresses: what `serve` and `config` have in common.
pub(crate) struct Sources {
    source: ConfigSource,
    /// The directory of the flag, which wins over the configured one.
    given_state_dir: Option<PathBuf>,
    /// The directory of the flag or the default one.
    state_dir: PathBuf,
    default_plugin_dir: Option<PathBuf>,
    available_dir: Option<PathBuf>,
}

impl ConfigOptions {
    /// Returns which argument names the configuration file, if one does.
    pub(crate) fn given(&self) -> Option<&'static str> {
        self.config.as_ref().map(|_| "--config")
    }
}

impl Sources {
    /// Collects what the flags and the environment say.
    pub(crate) fn new(options: &ConfigOptions) -> Result<Self, Failure> {
        let given_state_dir = absolute("--state-dir", options.state_dir.as_deref())?;
        let state_dir = match &given_state_dir {
            Some(directory) => directory.clone(),
            None => directory("XDG_STATE_HOME", ".local/state")
                .map(|home| home.join("keyway"))
                .ok_or_else(no_home)?,
        };
        let given_config = absolute("--config", options.config.as_deref())?;
        let choice = match given_config {
            _ if options.no_config => ConfigChoice::NoFile,
            Some(path) => ConfigChoice::File(path),
            None => ConfigChoice::Default(
                directory("XDG_CONFIG_HOME", ".config").map(|home| home.join("keyway/config.toml")),
            ),
        };
        let executable = env::current_exe().ok();
        Ok(Self {
            source: ConfigSource::new(choice, &state_dir),
            given_state_dir,
            state_dir,
            default_plugin_dir: directory("XDG_DATA_HOME", ".local/share")
                .map(|data| data.join("keyway/plugins")),
            available_dir: executable.as_deref().and_then(beside_bin),
        })
    }

    /// Makes the configuration of defaults and the file as it is now. Its addresses are those of the file alone.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let mut config = self.defaults();
        self.source.read_into(&mut config)?;
        if let Some(directory) = &self.given_state_dir {
            config.state_dir.clone_from(directory);
        }
        Ok(config)
    }

    /// Remembers that a configuration is in force.
    pub(crate) fn remember(&self, config: &Config) {
        self.source.remember(config);
    }

    /// What holds without a file.
    pub(crate) fn defaults(&self) -> Config {
        // The address is replaced: no constant path is right for every user.
        let mut config = Config::new(Address::reference(0), &self.state_dir);
        config.listen.clear();
        config.plugin_dirs.extend(self.default_plugin_dir.clone());
        config.available_dirs.extend(self.available_dir.clone());
        config
    }
}

/// Where the daemon's settings come from, read once at the start; the file is read again by each reload.
pub(crate) struct Settings {
    sources: Sources,
    /// The addresses of the flags or the environment.
    given: Vec<Address>,
    places: Places,
    listen_older: bool,
    given_plugin_dirs: Vec<PathBuf>,
    executable: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

impl Settings {
    /// Collects what the flags and the environment say.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let plugin_dirs = options.plugin_dir.iter();
        let plugin_dirs = plugin_dirs.map(|path| absolute_path("--plugin-dir", path));
        Ok(Self {
            sources: Sources::new(&options.config)?,
            given: given_addresses(options)?,
            places: Places::of_process(),
            listen_older: options.listen_older,
            given_plugin_dirs: plugin_dirs.collect::<Result<_, _>>()?,
            executable: env::current_exe().ok(),
            environment: env::vars_os().collect(),
        })
    }

    /// Collects what the environment says, for a daemon that is started with no other flags than these.
    pub(crate) fn of_file(config: &ConfigOptions) -> Result<Self, Failure> {
        Self::new(&Options {
            config: config.clone(),
            ..Options::default()
        })
    }

    /// Makes the configuration, with the file as it is now.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let mut config = self.sources.read()?;
        self.choose_addresses(&mut config);
        if !self.given_plugin_dirs.is_empty() {
            config.plugin_dirs.clone_from(&self.given_plugin_dirs);
            config.available_dirs.clear();
        }
        config.adopt_orphans = true;
        config.environment.clone_from(&self.environment);
        config.bundled.extend(self.bundled());
        config.version = VersionInfo::new(concat!("v", env!("CARGO_PKG_VERSION")));
        Ok(config)
    }

    /// Whether the configuration file was in force before: an error may name its path then.
    pub(crate) fn is_known(&self) -> bool {
        self.sources.source.is_known()
    }

    /// Remembers that a configuration is in force.
    pub(super) fn remember(&self, config: &Config) {
        self.sources.remember(config);
    }

    /// Chooses where the daemon listens: what was given, else what is configured, else the default addresses.
    fn choose_addresses(&self, config: &mut Config) {
        let configured = std::mem::take(&mut config.listen);
        let addresses = self.places.listen(ListenOptions {
            given: if self.given.is_empty() {
                configured
            } else {
                self.given.clone()
            },
            abstract_address: config.abstract_socket,
            docker_socket: config.docker_socket,
            older: self.listen_older,
        });
        config.listen = addresses.listen;
        config.listen_also = addresses.listen_also;
    }

    /// The plugin directories that were named and do not exist, which may be a slip. The default ones need not exist.
    pub(super) fn missing_plugin_dirs(&self, config: &Config) -> Vec<PathBuf> {
        let default = &self.sources.default_plugin_dir;
        let named = config
            .plugin_dirs
            .iter()
            .filter(|path| default.as_ref() != Some(path));
        named.filter(|path| !path.exists()).cloned().collect()
    }

    /// The file provider that comes with this program.
    fn bundled(&self) -> Option<BundledPlugin> {
        let name = bundled::NAME
            .parse()
            .expect("a constant that is a plugin name");
        let mut plugin = BundledPlugin::new(name, self.executable.as_deref()?, bundled::ARGV0);
        plugin.pass_env = [STORE_VARIABLE, IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE]
            .map(String::from)
            .into();
        Some(plugin)
    }
}

/// Describes a configuration that was not accepted, and what to do about it.
///
/// A path of the command line that leads to no regular file is not repeated: it could be a secret in the wrong place. `given` says
/// which argument names the path; `None` for the default path, and for one that was in force before.
pub(crate) fn failure(error: &ConfigError, given: Option<&str>) -> Failure {
    let unopened = match error {
        ConfigError::Absent { .. } => Some("there is no such file".to_owned()),
        ConfigError::Read(OpenError::Io { source, .. }) => Some(source.to_string()),
        ConfigError::Read(OpenError::NotRegular { kind, .. }) => {
            Some(format!("it is {kind}, not a regular file"))
        }
        _ => None,
    };
    if let (Some(given), Some(reason)) = (given, unopened) {
        return Failure::usage(
            format_args!("the configuration that {given} names cannot be read: {reason}"),
            "Check the path",
        );
    }
    let advice = match error {
        ConfigError::FormerAbsent { .. } => {
            "Restore it; or start with --no-config, or with an empty file in its place, for the defaults"
                .to_owned()
        }
        ConfigError::FormerUnread { path } => format!(
            "Name it with --config {}, or start with --no-config to forget it",
            shell_quote(path)
        ),
        _ => "Repair the file, or name another one with --config".to_owned(),
    };
    Failure::usage(error, advice)
}

fn given_addresses(options: &Options) -> Result<Vec<Address>, Failure> {
    if !options.listen.is_empty() {
        return Ok(options.listen.iter().map(absolute_address).collect());
    }
    let Some(text) = env::var_os(SOCKET_VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let address = Address::from_os_str(&text).map_err(|error| {
        Failure::usage(
            format_args!("{SOCKET_VARIABLE} is wrong: {error}"),
            "Set it to a path or to @NAME, or unset it for the default",
        )
    })?;
    Ok(vec![absolute_address(&address)])
}

/// An address that stays the same wherever the process is.
fn absolute_address(address: &Address) -> Address {
    match address {
        // An empty path is the only one that cannot be made absolute, and no address.
        Address::Path(path) => {
            Address::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        Address::Abstract(_) => address.clone(),
    }
}

fn absolute(flag: &str, path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    path.map(|path| absolute_path(flag, path)).transpose()
}

/// A path that stays the same wherever the process is.
fn absolute_path(flag: &str, path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(
            format_args!("{flag} was given no usable path: {error}"),
            format_args!("Give {flag} a path"),
        )
    })
}

/// `plugins` beside the `bin` folder that holds the executable.
fn beside_bin(executable: &Path) -> Option<PathBuf> {
    let bin = executable
        .parent()
        .filter(|directory| directory.ends_with("bin"))?;
    Some(bin.parent()?.join("plugins"))
}

/// A directory of the XDG base directory specification, which says to ignore relative paths.
fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

fn no_home() -> Failure {
    Failure::usage(
        "neither XDG_STATE_HOME nor HOME says where the daemon's state belongs",
        "Set HOME, or name a directory with --state-dir",
    )
}
