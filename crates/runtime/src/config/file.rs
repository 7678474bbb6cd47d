//! The configuration file: TOML, in which an unknown key is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use keyway_local::Address;
use keyway_local::file::{Offences, check_owners};
use keyway_secrets::Pattern;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use super::{
    AuditConfig, AuditFailure, Config, ExternalPlugins, PluginConfig, Sha256, may_be_cached,
};
use crate::model::PluginName;

/// Why a configuration file was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration {path} cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("the configuration is not used: {0}")]
    Untrusted(Offences),
    /// Its text is not a configuration.
    #[error("{path}:{line}: {}{message}", key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default(), path = .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, with the tables that it is in, where one can be named.
        key: Option<String>,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads the file at `path` over this configuration: what the file does not mention stays as it is.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not trustworthy or holds an error. The configuration is unchanged then.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        check_owners(path).map_err(ConfigError::Untrusted)?;
        self.read_text(&text, path)
    }

    /// As [`read_file`](Self::read_file), with the text of the file; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When the text holds an error. The configuration is unchanged then.
    pub fn read_text(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| invalid(text, path, &error))?;
        file.check(text, path)?;
        file.apply(self);
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Vec<Parsed<Address>>>,
    plugin_dirs: Option<Vec<AbsolutePath>>,
    allow_uids: Option<BTreeSet<u32>>,
    answer_memory: Option<Size>,
    #[serde(alias = "manual")]
    external: Option<Manual>,
    access: Option<Access>,
    audit: Option<Audit>,
    #[serde(default)]
    plugins: BTreeMap<PluginName, Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manual {
    allow: Allow,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false or a list of plugin names")]
enum Allow {
    All(bool),
    Named(BTreeSet<PluginName>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    modules: BTreeSet<PluginName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audit {
    path: AbsolutePath,
    max_bytes: Option<u64>,
    #[serde(default)]
    on_failure: AuditFailure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    enabled: Option<bool>,
    realm: Option<Parsed<Pattern>>,
    priority: Option<i64>,
    #[serde(default)]
    required: bool,
    timeout: Option<PositiveDuration>,
    concurrency: Option<std::num::NonZeroU32>,
    #[serde(default)]
    env: BTreeMap<VariableName, String>,
    #[serde(default)]
    pass_env: Vec<VariableName>,
    sha256: Option<Parsed<Sha256>>,
    cache_ttl: Option<Spanned<PositiveDuration>>,
}

impl File {
    /// Refuses what is well written and would have no effect.
    fn check(&self, text: &str, path: &Path) -> Result<(), ConfigError> {
        for (name, plugin) in &self.plugins {
            if let Some(ttl) = &plugin.cache_ttl
                && !may_be_cached(name)
            {
                let message = format!(
                    "the answers of `{name}` are never reused, since what was just stored must be found: take this line out"
                );
                return Err(invalid_at(text, path, ttl.span().start, message));
            }
        }
        Ok(())
    }

    fn apply(self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.listen = listen.into_iter().map(|address| address.0).collect();
        }
        if let Some(plugin_dirs) = self.plugin_dirs {
            config.plugin_dirs = plugin_dirs.into_iter().map(|path| path.0).collect();
        }
        if let Some(allow_uids) = self.allow_uids {
            config.allow_uids = allow_uids;
        }
        if let Some(answer_memory) = self.answer_memory {
            config.answer_memory = answer_memory.0;
        }
        if let Some(manual) = self.external {
            config.external = manual.allow.into();
        }
        if let Some(access) = self.access {
            config.access_modules = access.modules;
        }
        if let Some(audit) = self.audit {
            config.audit = Some(audit.into());
        }
        config.plugins.extend(
            self.plugins
                .into_iter()
                .map(|(name, plugin)| (name, plugin.into())),
        );
    }
}

impl From<Allow> for ExternalPlugins {
    fn from(allow: Allow) -> Self {
        match allow {
            Allow::All(true) => Self::Any,
            Allow::All(false) => Self::None,
            Allow::Named(names) => Self::Named(names),
        }
    }
}

impl From<Audit> for AuditConfig {
    fn from(audit: Audit) -> Self {
        let mut config = Self::new(audit.path.0);
        config.max_bytes = audit.max_bytes.unwrap_or(config.max_bytes);
        config.on_failure = audit.on_failure;
        config
    }
}

impl From<Plugin> for PluginConfig {
    fn from(plugin: Plugin) -> Self {
        Self {
            enabled: plugin.enabled,
            realm: plugin.realm.map(|realm| vec![realm.0]),
            priority: plugin.priority,
            required: plugin.required,
            timeout: plugin.timeout.map(|timeout| timeout.0),
            concurrency: plugin.concurrency.map(|limit| limit.get() as usize),
            env: plugin
                .env
                .into_iter()
                .map(|(name, value)| (name.0, value))
                .collect(),
            pass_env: plugin.pass_env.into_iter().map(|name| name.0).collect(),
            sha256: plugin.sha256.map(|checksum| checksum.0),
            cache_ttl: plugin.cache_ttl.map(|ttl| ttl.into_inner().0),
            ..Self::default()
        }
    }
}

/// A value written as a string that the type itself parses.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// A path that does not depend on the directory that the daemon was started in.
struct AbsolutePath(PathBuf);

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if !path.is_absolute() {
            return Err(D::Error::custom(format!(
                "{path:?} is not an absolute path"
            )));
        }
        Ok(Self(path))
    }
}

/// The name of an environment variable.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct VariableName(String);

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(D::Error::custom(format!(
                "{name:?} is not the name of an environment variable"
            )));
        }
        if name == keyway_proto::LAUNCH_VARIABLE {
            return Err(D::Error::custom(format!(
                "{name} is set by the daemon itself"
            )));
        }
        Ok(Self(name))
    }
}

/// A duration as a number and a unit: `500ms`, `10s`, `2m`, `1h`.
struct PositiveDuration(Duration);

impl<'de> Deserialize<'de> for PositiveDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is not a duration like \"500ms\", \"10s\", \"2m\" or \"1h\", at most a day"))
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end_of_number);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    // A day is longer than any request or cache entry should live, and keeps sums of times far from overflow.
    (!duration.is_zero() && duration <= Duration::from_secs(24 * 3600)).then_some(duration)
}

/// A number of bytes as a number and a unit: `64KiB`, `256MiB`, `1GiB`.
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not a size like \"64KiB\", \"256MiB\" or \"1GiB\""
            ))
        })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end_of_number);
    let bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let size = number.parse::<u64>().ok()?.checked_mul(bytes)?;
    (size > 0).then_some(size)
}

/// Says where the error is: file, line and key.
fn invalid(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start);
    invalid_at(text, path, offset, error.message().to_owned())
}

fn invalid_at(text: &str, path: &Path, offset: usize, message: String) -> ConfigError {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ConfigError::Invalid {
        path: path.into(),
        line,
        key: key_at(text, line),
        message,
    }
}

/// The key that is set in `line`, with the header of the table that it is in.
fn key_at(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let header = |line: &&&str| line.starts_with('[') && !line.contains('=');
    let table = lines
        .iter()
        .rev()
        .find(header)
        .and_then(|line| line.trim_start_matches('[').split(']').next());
    let assignment = lines.last().filter(|line| !line.starts_with('['));
    let key = assignment
        .and_then(|line| line.split_once('='))
        .map(|(key, _)| key);
    let parts: Vec<&str> = [table, key].into_iter().flatten().map(str::trim).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

#[cfg(test)]
mod tests;
