//! `keyway config`: shows the configuration as `serve` reads it, and compares it with that of the running daemon.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyway_local::{SOCKET_VARIABLE, escape_untrusted};
use keyway_proto::keyway::v1::StatusResponse;
use keyway_runtime::{Config, ListedSetting};
use serde::Serialize;

use super::serve::settings::{self, ConfigOptions, Settings};
use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// Options of `keyway config`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// The action; without one the configuration is shown.
#[derive(Debug, Subcommand)]
enum Action {
    /// Check a configuration file, without using it.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Shows or checks a configuration.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    match &options.action {
        Some(Action::Check { file }) => check(globals, file),
        None => show(globals, options),
    }
}

/// The output of `check --json`. An invalid file is an error.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    valid: bool,
    warnings: Vec<String>,
}

fn check(globals: &Globals, file: &Path) -> Result<Exit, Failure> {
    let options = ConfigOptions {
        config: Some(file.into()),
        ..ConfigOptions::default()
    };
    let config = Settings::from_config_options(&options)?
        .read()
        .map_err(|error| settings::failure(&error, Some("the argument")))?;
    if globals.json {
        return output::print_text(json::line(&Checked {
            file: file.display().to_string(),
            valid: true,
            warnings: config.warnings,
        }));
    }
    for warning in &config.warnings {
        output::note(warning);
    }
    output::print_text(format_args!("{} is valid\n", shown_path(file)))
}

fn show(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let overrides = Overrides {
        has_state_dir: options.config.state_dir.is_some(),
        has_socket: env::var_os(SOCKET_VARIABLE).is_some_and(|text| !text.is_empty()),
    };
    let config = Settings::from_config_options(&options.config)?
        .read()
        .map_err(|error| settings::failure(&error, options.config.given()))?;
    let comparison = daemon::with_client(globals, async |daemon| {
        Ok(match daemon::status_if_running(globals, daemon).await {
            Ok(Some(status)) => Comparison::of(&config, &status),
            Ok(None) => Comparison::NoDaemon,
            Err(error) => Comparison::Unknown(error.to_string()),
        })
    })?;
    for warning in &config.warnings {
        output::note(warning);
    }
    if globals.json {
        return output::print_text(json::line(&Shown::new(&config, &overrides, &comparison)));
    }
    output::print_text(listing(&config, &overrides) + &comparison.sentence())
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Shown {
    /// `None` if no file was read.
    file: Option<String>,
    settings: Vec<ShownSetting>,
    /// `same`, `different`, `not_running` or `unknown`.
    daemon: &'static str,
}

#[derive(Debug, Serialize)]
struct ShownSetting {
    table: String,
    key: &'static str,
    /// The value in the syntax of the file; `None` for a default without a value.
    value: Option<String>,
    /// `None` for a default.
    line: Option<usize>,
}

impl Shown {
    fn new(config: &Config, overrides: &Overrides, comparison: &Comparison) -> Self {
        let settings = overrides.listing(config).into_iter();
        let settings = settings.map(|(setting, _)| ShownSetting {
            table: setting.table,
            key: setting.key,
            value: setting.value,
            line: setting.line,
        });
        Self {
            file: config.file.as_ref().map(|path| path.display().to_string()),
            settings: settings.collect(),
            daemon: match comparison {
                Comparison::Same => "same",
                Comparison::Different(_) => "different",
                Comparison::NoDaemon => "not_running",
                Comparison::Unknown(_) => "unknown",
            },
        }
    }
}

/// The comparison with the configuration of the running daemon.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Same,
    /// The daemon has another configuration; holds its file, if it has one.
    Different(Option<String>),
    NoDaemon,
    /// The daemon's configuration is not known, for this reason.
    Unknown(String),
}

impl Comparison {
    fn of(config: &Config, status: &StatusResponse) -> Self {
        let file = status.configuration_file().to_owned();
        let own_file = config
            .file
            .as_deref()
            .map(|path| path.display().to_string());
        let is_same_file = own_file.unwrap_or_default() == file;
        match &status.configuration_hash {
            None => Self::Unknown("it does not return a hash".into()),
            Some(hash) if is_same_file && *hash == config.hash.to_string() => Self::Same,
            Some(_) => Self::Different((!file.is_empty()).then_some(file)),
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Same => "\n# The running daemon has this configuration.\n".into(),
            Self::Different(file) => {
                let file = file.as_deref().map_or_else(
                    || "no configuration file".to_owned(),
                    |file| format!("a configuration of {}", escape_untrusted(file)),
                );
                format!(
                    "\n# The running daemon has another configuration: it read {file}. Run `keyway plugins reload` after a change of \
                     the file.\n"
                )
            }
            Self::NoDaemon => "\n# No daemon is running.\n".into(),
            Self::Unknown(reason) => {
                let reason = escape_untrusted(reason);
                format!(
                    "\n# Whether the running daemon has this configuration is not known: {reason}.\n"
                )
            }
        }
    }
}

/// The settings of the command line and the environment that override the file.
#[derive(Default)]
struct Overrides {
    /// `true` if `--state-dir` is given.
    has_state_dir: bool,
    /// `true` if the environment names an address.
    has_socket: bool,
}

impl Overrides {
    /// Lists the settings, each with the name of its override if there is one.
    fn listing(&self, config: &Config) -> Vec<(ListedSetting, Option<&'static str>)> {
        let with_override = |mut setting: ListedSetting| match setting.key {
            "state_dir" if self.has_state_dir => {
                // An argument is not repeated: it may be a secret in the wrong place.
                (setting.value, setting.line) = (None, None);
                setting.meaning = "as given";
                (setting, Some("--state-dir"))
            }
            "listen" if self.has_socket => {
                setting.line = None;
                (setting, Some(SOCKET_VARIABLE))
            }
            _ => (setting, None),
        };
        config.listing().into_iter().map(with_override).collect()
    }
}

/// Formats the settings in the syntax of the file, each with its line.
fn listing(config: &Config, overrides: &Overrides) -> String {
    let (mut text, name) = match &config.file {
        Some(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            (
                format!("# {}\n", shown_path(path)),
                shown_path(Path::new(name)),
            )
        }
        None => (
            "# no configuration file: the defaults\n".to_owned(),
            String::new(),
        ),
    };
    let mut table = String::new();
    for (setting, override_name) in overrides.listing(config) {
        if setting.table != table {
            table.clone_from(&setting.table);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[{table}]\n");
        }
        let origin = match (override_name, setting.line) {
            (Some(name), _) => name.to_owned(),
            (None, Some(line)) => format!("{name}:{line}"),
            (None, None) => "default".to_owned(),
        };
        let _ = writeln!(text, "{}   # {origin}", written(&setting));
    }
    text
}

fn written(setting: &ListedSetting) -> String {
    match &setting.value {
        Some(value) => format!("{} = {value}", setting.key),
        None => format!("# {}: {}", setting.key, setting.meaning),
    }
}

fn shown_path(path: &Path) -> String {
    escape_untrusted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let mut config = Config::new("@one".parse().expect("an address"), "/state");
        let path = Path::new("/etc/keyway/config.toml");
        config.read_text(text, path).expect("a configuration");
        config
    }

    fn status(file: &str, bytes: &[u8]) -> StatusResponse {
        StatusResponse {
            configuration_file: Some(file.into()),
            configuration_hash: Some(keyway_runtime::Sha256::of(bytes).to_string()),
            ..StatusResponse::default()
        }
    }

    #[test]
    fn each_setting_is_listed_with_its_line() {
        let config = config("[plugins.vault]\npriority = 10\nenv = { TOKEN = 'not-a-real-token' }");
        let text = listing(&config, &Overrides::default());
        for line in [
            "# /etc/keyway/config.toml\n",
            "\nlisten = [\"@one\"]   # default\n",
            "\n[audit]\n# path: no audit log   # default\n",
            "\n[plugins.vault]\n",
            "\npriority = 10   # config.toml:2\n",
            "\n# realm: as registered   # default\n",
            "\nenv = { TOKEN = (not shown) }   # config.toml:3\n",
        ] {
            assert!(text.contains(line), "{line:?} is missing in {text}");
        }
        assert!(!text.contains("not-a-real-token"));
    }

    #[test]
    fn an_override_is_named_instead_of_a_line() {
        let config = config("listen = ['@two']\nstate_dir = '/not/shown'");
        let overrides = Overrides {
            has_state_dir: true,
            has_socket: true,
        };
        let text = listing(&config, &overrides);
        assert!(
            text.contains("# state_dir: as given   # --state-dir\n"),
            "{text}"
        );
        assert!(
            text.contains("listen = [\"@two\"]   # KEYWAY_SOCKET\n"),
            "{text}"
        );
        assert!(!text.contains("/not/shown"), "{text}");
    }

    #[test]
    fn the_configuration_of_the_daemon_is_compared_by_file_and_hash() {
        let (text, file) = ("allow_uids = [1]", "/etc/keyway/config.toml");
        let config = config(text);
        let compare = |status: &StatusResponse| Comparison::of(&config, status);
        assert_eq!(compare(&status(file, text.as_bytes())), Comparison::Same);
        let changed = compare(&status(file, b"another text"));
        assert_eq!(changed, Comparison::Different(Some(file.into())));
        let none = compare(&status("", b""));
        assert_eq!(none, Comparison::Different(None));
        assert!(none.sentence().contains("no configuration file"));
        let silent = compare(&StatusResponse::default());
        assert!(matches!(silent, Comparison::Unknown(_)));
    }
}
