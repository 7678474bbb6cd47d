//! The keys of the configuration file: the meaning and the values of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::Address;
use keyway_proto::limits::MAX_REALM_PATTERNS;
use keyway_secrets::Pattern;

use super::document::{Table, Value};
use super::file::ConfigError;
use super::values::{check_variable, parse_duration, parse_size};
use super::{
    AuditConfig, AuditFailure, Config, ExternalPlugins, PluginConfig, Variables, may_be_cached,
};
use crate::model::PluginName;

const KEYS: &[&str] = &[
    "listen",
    "abstract",
    "docker_socket",
    "plugin_dirs",
    "allow_uids",
    "answer_memory",
    "state_dir",
    "external",
    "manual",
    "access",
    "audit",
    "store",
    "plugins",
];
const EXTERNAL_KEYS: &[&str] = &["allow"];
const ACCESS_KEYS: &[&str] = &["modules", "contained"];
const STORE_KEYS: &[&str] = &["default", "docker_writes"];
const AUDIT_KEYS: &[&str] = &["path", "max_bytes", "keep", "on_failure"];
const PLUGIN_KEYS: &[&str] = &[
    "enabled",
    "realm",
    "priority",
    "required",
    "timeout",
    "start_timeout",
    "user_timeout",
    "concurrency",
    "env",
    "pass_env",
    "sha256",
    "cache_ttl",
    "fatal_exit",
    "may_resolve",
    "interactive",
    "shareable",
    "lists",
];

/// The most former audit files that can be kept.
const MAX_KEEP: u32 = 1000;

/// Reads the whole document over `config`. Relative paths of `listen` and `plugin_dirs` begin at `directory`.
pub(super) fn read(
    document: Table<'_>,
    directory: &Path,
    config: &mut Config,
) -> Result<(), ConfigError> {
    let document = document.with_keys(KEYS)?;
    if let Some(value) = document.get("listen") {
        config.listen = read_list(&value, "a list of addresses", |value| {
            value.read("an address", |text| address(text, directory))
        })?;
    }
    if let Some(value) = document.get("abstract") {
        config.abstract_socket = value.boolean()?;
    }
    if let Some(value) = document.get("docker_socket") {
        config.docker_socket = value.boolean()?;
    }
    if let Some(value) = document.get("plugin_dirs") {
        config.plugin_dirs = read_list(&value, "a list of directories", |value| {
            value.read("a directory", |text| path_below(text, directory))
        })?;
        // A configured list takes the place of the default directories, the one beside the program included.
        config.available_dirs.clear();
    }
    if let Some(value) = document.get("allow_uids") {
        // The greatest number means "no user" in system calls.
        config.allow_uids = read_list(&value, "a list of user ids", |value| {
            value.integer(0, u32::MAX - 1)
        })?;
    }
    if let Some(value) = document.get("answer_memory") {
        config.answer_memory = value.read("a size like \"256MiB\"", parse_size)?;
    }
    if let Some(value) = document.get("state_dir") {
        config.state_dir = absolute_path(&value)?;
    }
    read_external(&document, config)?;
    if let Some(value) = document.get("access") {
        read_access(&value.table()?.with_keys(ACCESS_KEYS)?, config)?;
    }
    if let Some(value) = document.get("store") {
        read_store(&value.table()?.with_keys(STORE_KEYS)?, config)?;
    }
    if let Some(value) = document.get("audit") {
        config.audit = Some(audit(&value.table()?.with_keys(AUDIT_KEYS)?)?);
    }
    if let Some(value) = document.get("plugins") {
        for (name, value) in value.table()?.entries() {
            let name: PluginName = name
                .parse()
                .map_err(|error| value.error(format!("{error}")))?;
            let plugin = plugin(&name, &value.table()?.with_keys(PLUGIN_KEYS)?)?;
            config.plugins.insert(name, plugin);
        }
    }
    Ok(())
}

fn read_external(document: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    let (external, manual) = (document.get("external"), document.get("manual"));
    if let (Some(_), Some(manual)) = (&external, &manual) {
        return Err(manual.error(
            "`[manual]` is the former name of `[external]`, which is set too: remove this table"
                .into(),
        ));
    }
    if manual.is_some() {
        config
            .warnings
            .push("`[manual]` is the former name of `[external]`: rename the table".into());
    }
    let Some(value) = external.or(manual) else {
        return Ok(());
    };
    if let Some(value) = value.table()?.with_keys(EXTERNAL_KEYS)?.get("allow") {
        config.external = match value.as_boolean() {
            Some(true) => ExternalPlugins::Any,
            Some(false) => ExternalPlugins::None,
            None => ExternalPlugins::Named(names(&value, "true, false or a list of plugin names")?),
        };
    }
    Ok(())
}

fn read_access(table: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(value) = table.get("modules") {
        config.access_modules = names(&value, "a list of plugin names")?;
    }
    if let Some(value) = table.get("contained") {
        config.access_contained = value.boolean()?;
    }
    Ok(())
}

fn read_store(table: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(value) = table.get("default") {
        config.store_default = value.read("a plugin name", str::parse)?;
    }
    if let Some(value) = table.get("docker_writes") {
        config.docker_writes = value.boolean()?;
    }
    Ok(())
}

fn audit(table: &Table<'_>) -> Result<AuditConfig, ConfigError> {
    let Some(path) = table.get("path") else {
        return Err(table.error("`path` is missing: it names the audit log".into()));
    };
    let mut audit = AuditConfig::new(absolute_path(&path)?);
    if let Some(value) = table.get("max_bytes") {
        audit.max_bytes = if value.is_string() {
            value.read("a size", parse_size)?
        } else {
            value.integer(1, i64::MAX)?.unsigned_abs()
        };
    }
    if let Some(value) = table.get("keep") {
        audit.keep = value.integer(0, MAX_KEEP)?;
    }
    if let Some(value) = table.get("on_failure") {
        let what = "\"continue\" or \"refuse\"";
        audit.on_failure = value.read(what, |text| match text {
            "continue" => Ok(AuditFailure::Continue),
            "refuse" => Ok(AuditFailure::Refuse),
            _ => Err(format!("expected {what}, found {text:?}")),
        })?;
    }
    Ok(audit)
}

fn plugin(name: &PluginName, table: &Table<'_>) -> Result<PluginConfig, ConfigError> {
    let boolean = |key| table.get(key).map(|value| value.boolean()).transpose();
    let duration = |key| table.get(key).map(|value| duration(&value)).transpose();
    let cache_ttl = duration("cache_ttl")?;
    if let Some(value) = table.get("cache_ttl")
        && !may_be_cached(name)
    {
        return Err(value.error(format!(
            "the responses of `{name}` are never reused, because what was just stored must be found: remove this line"
        )));
    }
    let patterns_of = |key| table.get(key).map(|value| patterns(&value)).transpose();
    Ok(PluginConfig {
        enabled: boolean("enabled")?,
        realm: patterns_of("realm")?,
        priority: table
            .get("priority")
            .map(|value| value.integer(i64::MIN, i64::MAX))
            .transpose()?,
        required: boolean("required")?.unwrap_or(false),
        timeout: duration("timeout")?,
        start_timeout: duration("start_timeout")?,
        user_timeout: duration("user_timeout")?,
        concurrency: table
            .get("concurrency")
            .map(|v| concurrency(&v))
            .transpose()?,
        env: environment(table)?,
        pass_env: match table.get("pass_env") {
            Some(value) => read_list(&value, "a list of names of variables", |value| {
                value.read("the name of a variable", |name| {
                    check_variable(name).map(|()| name.to_owned())
                })
            })?,
            None => Vec::new(),
        },
        sha256: table
            .get("sha256")
            .map(|value| value.read("64 hexadecimal digits", str::parse))
            .transpose()?,
        cache_ttl,
        fatal_exit: match table.get("fatal_exit") {
            Some(value) => Some(read_list(&value, "a list of exit statuses", |value| {
                value.integer(0, 255)
            })?),
            None => None,
        },
        may_resolve: patterns_of("may_resolve")?.unwrap_or_default(),
        interactive: boolean("interactive")?,
        shareable: boolean("shareable")?,
        lists: boolean("lists")?,
    })
}

fn concurrency(value: &Value<'_>) -> Result<usize, ConfigError> {
    let limit: u32 = value.integer(1, PluginConfig::MAX_CONCURRENCY as u32)?;
    Ok(limit as usize)
}

/// The values may be secret, so no error repeats one.
fn environment(table: &Table<'_>) -> Result<Variables, ConfigError> {
    let Some(value) = table.get("env") else {
        return Ok(Variables::default());
    };
    let variables = value.table()?;
    let variables = variables.entries().map(|(name, value)| {
        check_variable(name).map_err(|message| value.error(message))?;
        let text = value.string()?;
        if text.contains('\0') {
            return Err(value.error("the value holds a NUL byte".into()));
        }
        Ok((name, text))
    });
    variables.collect()
}

/// Returns one pattern, or a list of 1 to 64.
fn patterns(value: &Value<'_>) -> Result<Vec<Pattern>, ConfigError> {
    if value.is_string() {
        return Ok(vec![value.read("a pattern", str::parse::<Pattern>)?]);
    }
    let patterns: Vec<Pattern> = read_list(value, "a pattern or a list of patterns", |value| {
        value.read("a pattern", str::parse::<Pattern>)
    })?;
    if patterns.is_empty() || patterns.len() > MAX_REALM_PATTERNS {
        let n_patterns = patterns.len();
        return Err(value.error(format!(
            "expected 1 to {MAX_REALM_PATTERNS} patterns, found {n_patterns}"
        )));
    }
    Ok(patterns)
}

fn duration(value: &Value<'_>) -> Result<Duration, ConfigError> {
    value.read("a duration like \"10s\"", parse_duration)
}

fn names(value: &Value<'_>, what: &str) -> Result<BTreeSet<PluginName>, ConfigError> {
    read_list(value, what, |value| value.read("a plugin name", str::parse))
}

fn read_list<'a, T, C: FromIterator<T>>(
    value: &Value<'a>,
    what: &str,
    read: impl Fn(&Value<'a>) -> Result<T, ConfigError>,
) -> Result<C, ConfigError> {
    value.list(what)?.iter().map(read).collect()
}

/// Returns an address; a relative path begins at the directory of the file.
fn address(text: &str, directory: &Path) -> Result<Address, String> {
    match text.parse().map_err(|error| format!("{error}"))? {
        Address::Path(path) => Ok(Address::Path(directory.join(path))),
        address => Ok(address),
    }
}

fn path_below(text: &str, directory: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty".into());
    }
    Ok(directory.join(text))
}

fn absolute_path(value: &Value<'_>) -> Result<PathBuf, ConfigError> {
    value.read("a path", |text| {
        let path = PathBuf::from(text);
        match path.is_absolute() {
            true => Ok(path),
            false => Err(format!("{text:?} is not an absolute path")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/book/src/reference/configuration.md"
    );

    /// The tables of the file, each with the heading of its section on the page.
    const SECTIONS: [(&str, &[&str]); 6] = [
        ("## The daemon", KEYS),
        ("## `[external]`", EXTERNAL_KEYS),
        ("## `[access]`", ACCESS_KEYS),
        ("## `[store]`", STORE_KEYS),
        ("## `[audit]`", AUDIT_KEYS),
        ("## `[plugins.NAME]`", PLUGIN_KEYS),
    ];

    /// The keys of which each has a section, and the former name of one.
    const TABLES: [&str; 6] = ["external", "manual", "access", "audit", "store", "plugins"];

    /// Returns the keys of the rows in a section, and those that its example sets.
    fn documented<'a>(page: &'a str, heading: &str) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
        let lines = page.lines().skip_while(|line| *line != heading).skip(1);
        let lines = lines.take_while(|line| !line.starts_with("## "));
        let rows = lines.clone().filter_map(|line| {
            let row = line.strip_prefix("| `")?;
            // A row has a type, a default, an effect and when a change is in force.
            (row.matches(" | ").count() == 4).then(|| row.split_once('`'))?
        });
        let examples = lines.filter_map(|line| line.split_once(" = "));
        (
            rows.map(|(key, _)| key).collect(),
            examples.map(|(key, _)| key).collect(),
        )
    }

    #[test]
    fn the_reference_has_every_key_and_no_other() {
        let page = std::fs::read_to_string(PAGE).expect("the page");
        for (heading, keys) in SECTIONS {
            let keys = keys.iter().copied().filter(|key| !TABLES.contains(key));
            let keys: BTreeSet<_> = keys.collect();
            let (rows, examples) = documented(&page, heading);
            assert_eq!(rows, keys, "the rows of {heading}");
            assert_eq!(examples, keys, "the example of {heading}");
        }
        for table in TABLES {
            assert!(
                page.contains(&format!("[{table}]")) || page.contains(&format!("[{table}.")),
                "{table}"
            );
        }
    }
}
