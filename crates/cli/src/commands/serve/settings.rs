//! The configuration of the daemon: flags take precedence over the environment, the file and the defaults.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_local::file::{OpenError, shell_quote};
use keyway_local::{Address, ListenOptions, Places, SOCKET_VARIABLE, with_causes};
use keyway_plugin_file::{IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE, STORE_VARIABLE};
use keyway_runtime::{BuiltInPlugin, Config, ConfigChoice, ConfigError, ConfigSource, VersionInfo};

use super::Options;
use crate::builtin;
use crate::failure::Failure;

/// The options that name the configuration and the state directory.
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

/// The sources of the configuration except for addresses, shared by `serve` and `config`.
pub(crate) struct Sources {
    source: ConfigSource,
    /// The directory of the flag, which overrides the configured one.
    given_state_dir: Option<PathBuf>,
    /// The directory of the flag or the default one.
    state_dir: PathBuf,
    default_plugin_dir: Option<PathBuf>,
    available_dirs: Vec<PathBuf>,
}

/// Returns where the configuration is if no option names it, whether it exists or not; `None` without a home.
pub(crate) fn default_config_file() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config").map(|home| home.join("keyway/config.toml"))
}

impl ConfigOptions {
    /// Returns the argument that names the configuration file, if given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        self.config.as_ref().map(|_| "--config")
    }
}

impl Sources {
    /// Reads the flags and the environment.
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
            None => ConfigChoice::Default(default_config_file()),
        };
        let executable = env::current_exe().ok();
        Ok(Self {
            source: ConfigSource::new(choice, &state_dir),
            given_state_dir,
            state_dir,
            default_plugin_dir: directory("XDG_DATA_HOME", ".local/share")
                .map(|data| data.join("keyway/plugins")),
            available_dirs: executable.as_deref().map_or_else(Vec::new, beside_bin),
        })
    }

    /// Builds the configuration of the defaults and the current file. Its addresses are those of the file only.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let mut config = self.defaults();
        self.source.read_into(&mut config)?;
        if let Some(directory) = &self.given_state_dir {
            config.state_dir.clone_from(directory);
        }
        Ok(config)
    }

    /// Returns the state directory of the flag or the default one.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Records the configuration as the one in force.
    pub(crate) fn remember(&self, config: &Config) {
        self.source.remember(config);
    }

    /// Returns the configuration without a file.
    pub(crate) fn defaults(&self) -> Config {
        // The address is a placeholder, because the default depends on the user.
        let mut config = Config::new(Address::reference(0), &self.state_dir);
        config.listen.clear();
        config.plugin_dirs.extend(self.default_plugin_dir.clone());
        config
            .available_dirs
            .extend(self.available_dirs.iter().cloned());
        config
    }
}

/// The sources of the daemon's settings. Flags and environment are read once; each reload reads the file again.
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
    /// Reads the flags and the environment.
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

    /// Reads the environment, for a daemon without other flags than these.
    pub(crate) fn from_config_options(config: &ConfigOptions) -> Result<Self, Failure> {
        Self::new(&Options {
            config: config.clone(),
            ..Options::default()
        })
    }

    /// Builds the configuration with the current file.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let mut config = self.sources.read()?;
        self.choose_addresses(&mut config);
        if !self.given_plugin_dirs.is_empty() {
            config.plugin_dirs.clone_from(&self.given_plugin_dirs);
            config.available_dirs.clear();
        }
        config.adopt_orphans = true;
        config.environment.clone_from(&self.environment);
        config.built_in.extend(self.builtin_plugin());
        config.version = VersionInfo::new(concat!("v", env!("CARGO_PKG_VERSION")));
        Ok(config)
    }

    /// Returns `true` if the configuration file was in force before, so that an error may name its path.
    pub(crate) fn is_known(&self) -> bool {
        self.sources.source.is_known()
    }

    /// Records the configuration as the one in force.
    pub(super) fn remember(&self, config: &Config) {
        self.sources.remember(config);
    }

    /// Sets the addresses: those of the flags or the environment, else the configured ones, else the defaults.
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

    /// Returns the given or configured plugin directories that do not exist. The default ones need not exist.
    pub(super) fn missing_plugin_dirs(&self, config: &Config) -> Vec<PathBuf> {
        let default = &self.sources.default_plugin_dir;
        let named = config
            .plugin_dirs
            .iter()
            .filter(|path| default.as_ref() != Some(path));
        named.filter(|path| !path.exists()).cloned().collect()
    }

    /// Returns the built-in file provider.
    fn builtin_plugin(&self) -> Option<BuiltInPlugin> {
        let name = builtin::NAME
            .parse()
            .expect("the constant is a valid plugin name");
        let mut plugin = BuiltInPlugin::new(name, self.executable.as_deref()?, builtin::ARGV0);
        plugin.pass_env = [STORE_VARIABLE, IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE]
            .map(String::from)
            .into();
        Some(plugin)
    }
}

/// Converts a configuration error.
///
/// A path on the command line that is not a regular file is not repeated: it may be a secret in the wrong place. `given` is
/// the argument that names the path; `None` for the default path and for one that was in force before.
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
    Failure::usage(with_causes(error), advice)
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

/// Returns the address independent of the working directory.
fn absolute_address(address: &Address) -> Address {
    match address {
        // Only an empty path cannot be made absolute, and an address is never empty.
        Address::Path(path) => {
            Address::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        Address::Abstract(_) => address.clone(),
    }
}

fn absolute(flag: &str, path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    path.map(|path| absolute_path(flag, path)).transpose()
}

/// Returns the path independent of the working directory.
fn absolute_path(flag: &str, path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(
            format_args!("{flag} was given no usable path: {error}"),
            format_args!("Give {flag} a path"),
        )
    })
}

/// Returns `plugins` and `lib/keyway/plugins` beside the `bin` folder of the executable. The second one is the place of packages,
/// which may have no folder of their own in `/usr`.
fn beside_bin(executable: &Path) -> Vec<PathBuf> {
    let bin = executable
        .parent()
        .filter(|directory| directory.ends_with("bin"));
    let Some(prefix) = bin.and_then(Path::parent) else {
        return Vec::new();
    };
    ["plugins", "lib/keyway/plugins"]
        .map(|path| prefix.join(path))
        .into()
}

/// Returns a directory of the XDG base directory specification, which demands that relative paths are ignored.
fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    keyway_local::base_directory(|name| env::var_os(name), variable, below_home)
}

fn no_home() -> Failure {
    Failure::usage(
        "neither XDG_STATE_HOME nor HOME names a directory for the daemon's state",
        "Set HOME, or name a directory with --state-dir",
    )
}
