//! What the daemon is configured with: flags first, then the environment, then the file, then the defaults.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keyway_local::{Address, ListenOptions, Places, SOCKET_VARIABLE};
use keyway_plugin_file::{IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE, STORE_VARIABLE};
use keyway_runtime::{BundledPlugin, Config, ConfigError, VersionInfo};

use super::Options;
use crate::bundled;
use crate::failure::Failure;

/// Where the daemon's settings come from, read once at the start; the file is read again by each reload.
pub(super) struct Settings {
    options: Options,
    /// The addresses of the flags or the environment.
    given: Vec<Address>,
    places: Places,
    config_file: Option<PathBuf>,
    config_file_is_required: bool,
    default_plugin_dirs: Vec<PathBuf>,
    state_dir: PathBuf,
    executable: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

impl Settings {
    /// Collects what the flags and the environment say.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let executable = env::current_exe().ok();
        let data = directory("XDG_DATA_HOME", ".local/share");
        let beside_bin = executable.as_deref().and_then(beside_bin);
        let given_config = options.config.as_deref().map(absolute).transpose()?;
        let config_file_is_required = given_config.is_some();
        Ok(Self {
            given: given_addresses(options)?,
            places: Places::of_process(),
            config_file: given_config.or_else(|| {
                directory("XDG_CONFIG_HOME", ".config").map(|home| home.join("keyway/config.toml"))
            }),
            config_file_is_required,
            default_plugin_dirs: beside_bin
                .into_iter()
                .chain(data.map(|data| data.join("keyway/plugins")))
                .collect(),
            state_dir: directory("XDG_STATE_HOME", ".local/state")
                .map(|home| home.join("keyway"))
                .ok_or_else(no_home)?,
            executable,
            environment: env::vars_os().collect(),
            options: options.clone(),
        })
    }

    /// Makes the configuration, with the file as it is now.
    pub(super) fn read(&self) -> Result<Config, ConfigError> {
        // The address is replaced below.
        let mut config = Config::new(self.places.reference(), &self.state_dir);
        config.listen.clear();
        config.plugin_dirs.clone_from(&self.default_plugin_dirs);
        if let Some(file) = &self.config_file
            && (self.config_file_is_required || file.exists())
        {
            config.read_file(file)?;
        }
        let configured = std::mem::take(&mut config.listen);
        let addresses = self.places.listen(ListenOptions {
            given: if self.given.is_empty() {
                configured
            } else {
                self.given.clone()
            },
            abstract_address: config.abstract_socket,
            docker_socket: config.docker_socket,
            older: self.options.listen_older,
        });
        config.listen = addresses.listen;
        config.listen_also = addresses.listen_also;
        if !self.options.plugin_dir.is_empty() {
            config.plugin_dirs.clone_from(&self.options.plugin_dir);
        }
        config.adopt_orphans = true;
        config.environment.clone_from(&self.environment);
        config.bundled.extend(self.bundled());
        config.version = VersionInfo::new(concat!("v", env!("CARGO_PKG_VERSION")));
        Ok(config)
    }

    /// The plugin directories that somebody named and that do not exist, which may be a slip. The default ones need not.
    pub(super) fn missing_plugin_dirs(&self, config: &Config) -> Vec<PathBuf> {
        let named = config
            .plugin_dirs
            .iter()
            .filter(|path| !self.default_plugin_dirs.contains(path));
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

/// What to tell whoever wrote a configuration with an error.
pub(super) fn failure(error: &ConfigError) -> Failure {
    Failure::usage(error, "Repair the file, or name another one with --config")
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

/// A path that stays the same wherever the process is.
fn absolute_address(address: &Address) -> Address {
    match address {
        // An empty path is the only one that cannot be made absolute, and no address.
        Address::Path(path) => {
            Address::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        Address::Abstract(_) => address.clone(),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(
            format_args!("`{}` names no file: {error}", path.display()),
            "Give --config a path",
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
    Failure::error(
        "neither XDG_STATE_HOME nor HOME says where the daemon's state belongs",
        "Set HOME",
    )
}
