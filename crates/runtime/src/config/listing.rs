//! A configuration as a list of settings, each with the line that it comes from.

use std::fmt::Display;
use std::time::Duration;

use super::document::joined;
use super::settings::Settings;
use super::values::{format_duration, format_size};
use super::{AuditFailure, Config, ExternalPlugins, PluginSettings};
use crate::model::PluginName;
use crate::model::state::State;

/// One setting that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedSetting {
    /// The table, as its header is written; empty for the keys above all tables.
    pub table: String,
    /// The key.
    pub key: &'static str,
    /// The value as it would be written in the file; `None` for a default that no value expresses.
    pub value: Option<String>,
    /// Meaning of a default that no value expresses; empty otherwise.
    pub meaning: &'static str,
    /// The line that sets it, counted from 1; `None` for a default.
    pub line: Option<usize>,
}

impl Config {
    /// Lists every setting that holds, with the defaults. Of `env` only the names of the variables are shown.
    pub fn listing(&self) -> Vec<ListedSetting> {
        let mut listing = Listing::new(self);
        listing.daemon();
        let settings = Settings::new(self.clone(), &State::default(), 0);
        for name in self.plugins.keys() {
            listing.plugin(name, &settings.plugin(name));
        }
        listing.settings
    }
}

struct Listing<'a> {
    config: &'a Config,
    table: String,
    settings: Vec<ListedSetting>,
}

impl<'a> Listing<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            table: String::new(),
            settings: Vec::new(),
        }
    }

    fn set(&mut self, key: &'static str, value: impl Display) {
        self.add(key, Some(value.to_string()), "");
    }

    /// Adds a setting whose default no value expresses.
    fn set_or(&mut self, key: &'static str, value: Option<impl Display>, meaning: &'static str) {
        self.add(key, value.map(|value| value.to_string()), meaning);
    }

    fn add(&mut self, key: &'static str, value: Option<String>, meaning: &'static str) {
        let full_key = match &self.table[..] {
            "" => key.to_owned(),
            table => format!("{table}.{key}"),
        };
        // The former name of a table is a source, too.
        let former = full_key.replacen("external.", "manual.", 1);
        let lines = &self.config.lines;
        self.settings.push(ListedSetting {
            table: self.table.clone(),
            key,
            meaning: if value.is_none() { meaning } else { "" },
            value,
            line: lines.get(&full_key).or_else(|| lines.get(&former)).copied(),
        });
    }

    fn daemon(&mut self) {
        let config = self.config;
        self.set("listen", quoted_list(&config.listen));
        self.set("abstract", config.abstract_socket);
        self.set("docker_socket", config.docker_socket);
        let directories = config.available_dirs.iter().chain(&config.plugin_dirs);
        let directories: Vec<_> = directories.map(|path| path.display()).collect();
        self.set("plugin_dirs", quoted_list(&directories));
        self.set("allow_uids", list(&config.allow_uids));
        self.set("answer_memory", quoted(format_size(config.answer_memory)));
        self.set("state_dir", quoted(config.state_dir.display()));
        self.table = "external".into();
        self.set(
            "allow",
            match &config.external {
                ExternalPlugins::Any => "true".into(),
                ExternalPlugins::None => "false".into(),
                ExternalPlugins::Named(names) => quoted_list(names.iter().map(PluginName::as_str)),
            },
        );
        self.table = "access".into();
        let modules = config.access_modules.iter().map(PluginName::as_str);
        self.set("modules", quoted_list(modules));
        self.set("contained", config.access_contained);
        self.table = "store".into();
        self.set("default", quoted(config.store_default.as_str()));
        self.set("docker_writes", config.docker_writes);
        self.table = "audit".into();
        let Some(audit) = &config.audit else {
            self.set_or("path", None::<String>, "no audit log");
            return;
        };
        self.set("path", quoted(audit.path.display()));
        self.set("max_bytes", audit.max_bytes);
        self.set("keep", audit.keep);
        self.set(
            "on_failure",
            quoted(match audit.on_failure {
                AuditFailure::Continue => "continue",
                AuditFailure::Refuse => "refuse",
            }),
        );
    }

    fn plugin(&mut self, name: &PluginName, plugin: &PluginSettings) {
        self.table = joined("plugins", name.as_str());
        let duration = |duration: Duration| quoted(format_duration(duration));
        self.set_or(
            "enabled",
            plugin.enabled,
            "as decided with `keyway plugins`",
        );
        let realm = plugin.realm.as_ref().map(|patterns| match &patterns[..] {
            [pattern] => quoted(pattern),
            patterns => quoted_list(patterns),
        });
        self.set_or("realm", realm, "as registered");
        self.set("priority", plugin.priority);
        self.set("required", plugin.required);
        self.set("timeout", duration(plugin.timeout));
        self.set("start_timeout", duration(plugin.start_timeout));
        self.set("user_timeout", duration(plugin.user_timeout));
        self.set_or(
            "concurrency",
            plugin.concurrency,
            "as described by the plugin",
        );
        let variables = plugin.env.keys();
        let variables = variables.map(|name| format!("{} = (not shown)", joined("", name)));
        let variables: Vec<String> = variables.collect();
        self.set(
            "env",
            match &variables[..] {
                [] => "{}".to_owned(),
                variables => format!("{{ {} }}", variables.join(", ")),
            },
        );
        self.set("pass_env", quoted_list(&plugin.pass_env));
        self.set_or("sha256", plugin.sha256.map(quoted), "not pinned");
        self.set_or("cache_ttl", plugin.cache_ttl.map(duration), "no cache");
        self.set("fatal_exit", list(&plugin.fatal_exit));
        self.set("may_resolve", quoted_list(&plugin.may_resolve));
        self.set_or(
            "interactive",
            plugin.interactive,
            "as described by the plugin",
        );
        self.set_or("shareable", plugin.shareable, "as described by the plugin");
        self.set_or("lists", plugin.lists, "as described by the plugin");
    }
}

/// Returns a text as a basic string of TOML.
fn quoted(text: impl Display) -> String {
    let mut quoted = String::from("\"");
    for character in text.to_string().chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn quoted_list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    list(values.into_iter().map(quoted))
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        let mut config = Config::new("@one".parse().expect("an address"), "/state");
        let path = Path::new("/etc/config.toml");
        config.read_text(text, path).expect("a configuration");
        config
    }

    fn shown(config: &Config, table: &str, key: &str) -> (Option<String>, Option<usize>) {
        let listing = config.listing();
        let mut found = listing
            .iter()
            .filter(|setting| setting.table == table && setting.key == key);
        let setting = found.next().expect("the setting");
        (setting.value.clone(), setting.line)
    }

    #[test]
    fn settings_name_their_line_or_are_defaults() {
        let config = config(
            "allow_uids = [7]\n[manual]\nallow = ['a b']\n\n[plugins.'my store']\nrealm = ['a', 'b']\ntimeout = '90s'",
        );
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(shown(&config, "", "allow_uids"), (value("[7]"), Some(1)));
        assert_eq!(shown(&config, "", "listen"), (value("[\"@one\"]"), None));
        assert_eq!(
            shown(&config, "external", "allow"),
            (value("[\"a b\"]"), Some(3))
        );
        assert_eq!(shown(&config, "audit", "path"), (None, None));
        let table = "plugins.\"my store\"";
        assert_eq!(
            shown(&config, table, "realm"),
            (value("[\"a\", \"b\"]"), Some(6))
        );
        assert_eq!(
            shown(&config, table, "timeout"),
            (value("\"90s\""), Some(7))
        );
        assert_eq!(shown(&config, table, "priority"), (value("0"), None));
        assert_eq!(shown(&config, table, "sha256"), (None, None));
    }

    #[test]
    fn no_value_of_env_is_listed() {
        let config = config("[plugins.a.env]\nTOKEN = 'not-a-real-token'");
        let (value, line) = shown(&config, "plugins.a", "env");
        assert_eq!(value.as_deref(), Some("{ TOKEN = (not shown) }"));
        assert_eq!(line, Some(1));
        assert!(!format!("{:?}", config.listing()).contains("not-a-real-token"));
    }

    #[test]
    fn a_listing_can_be_read_as_a_configuration() {
        let checksum = "ab".repeat(32);
        let original = config(&format!(
            "listen = ['/a b', '@c']\nabstract = false\nplugin_dirs = ['/p']\nallow_uids = [1, 2]\nanswer_memory = '5MiB'\n\
             external.allow = ['x']\naccess.modules = ['m']\n[audit]\npath = '/a\"\\u'\nkeep = 3\non_failure = 'refuse'\n\
             [plugins.\"a.b\"]\nenabled = true\nrealm = 'a/*'\npriority = -4\nrequired = true\ntimeout = '1ms'\n\
             concurrency = 9\npass_env = ['X']\nsha256 = '{checksum}'\ncache_ttl = '1h'\nfatal_exit = [3]\n\
             may_resolve = ['y/**']\ninteractive = true\nshareable = false\nlists = true\nuser_timeout = '3m'\n\
             start_timeout = '7s'\nenv = {{}}"
        ));
        let mut text = String::new();
        let mut table = String::new();
        for setting in original.listing() {
            if setting.table != table {
                text += &format!("[{}]\n", setting.table);
                table = setting.table;
            }
            if let Some(value) = setting.value {
                text += &format!("{} = {value}\n", setting.key);
            }
        }
        let again = config(&text);
        assert_eq!(again.listing().len(), original.listing().len());
        let settings = |config: Config| Settings::new(config, &State::default(), 0);
        let difference =
            super::super::diff::Difference::between(&settings(original), &settings(again));
        assert_eq!(
            difference,
            super::super::diff::Difference::default(),
            "{text}"
        );
    }
}
