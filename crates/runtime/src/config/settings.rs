//! The settings in force: one immutable value for each reload, with everything resolved for each plugin.
//!
//! Only here are defaults applied, and the state's additions to the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyway_secrets::Pattern;

use super::{Config, PluginConfig, Sha256, Variables, file_provider, may_be_cached};
use crate::model::PluginName;
use crate::model::state::State;

/// The settings in force between two reloads.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration as given.
    pub(crate) config: Config,
    /// Counts the reloads; unequal generations are unequal settings.
    pub(crate) generation: u64,
    /// `true` if any plugin is pinned, by configuration or by state.
    pub(crate) is_pinning: bool,
    plugins: BTreeMap<PluginName, Arc<PluginSettings>>,
    unconfigured: Arc<PluginSettings>,
}

/// The settings in force for one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginSettings {
    /// `true` if the configuration mentions the name: a table, `[access] modules` or a list in `[external] allow`.
    pub(crate) is_configured: bool,
    /// `true` if `[access] modules` lists the name.
    pub(crate) is_listed_module: bool,
    /// `true` if a list of `[external] allow` contains the name.
    pub(crate) is_listed_external: bool,
    /// `enabled` of the configuration.
    pub(crate) enabled: Option<bool>,
    /// The configured limit of the realm; `None`: no limit.
    pub(crate) realm: Option<Vec<Pattern>>,
    /// The rank among providers, higher first.
    pub(crate) priority: i64,
    /// `true` if a failure fails every pattern query that overlaps the realm.
    pub(crate) required: bool,
    /// Limit for one request.
    pub(crate) timeout: Duration,
    /// Limit for a start, from the fork to the response to the registration.
    pub(crate) start_timeout: Duration,
    /// Limit for one request that may ask the user.
    pub(crate) user_timeout: Duration,
    /// The most calls in flight; `None`: the number in the plugin's description.
    pub(crate) concurrency: Option<u32>,
    /// Variables set in the environment.
    pub(crate) env: Variables,
    /// Variables of the daemon's environment handed on.
    pub(crate) pass_env: Vec<String>,
    /// The pin in force, of the configuration or trusted by the user.
    pub(crate) sha256: Option<Sha256>,
    /// `true` if the configuration sets the pin, so that only the configuration changes it.
    pub(crate) is_pin_configured: bool,
    /// The time for which responses are kept; `None`: not at all.
    pub(crate) cache_ttl: Option<Duration>,
    /// Exit statuses after which a restart is pointless.
    pub(crate) fatal_exit: BTreeSet<i32>,
    /// The patterns that processes of this plugin may resolve.
    pub(crate) may_resolve: Vec<Pattern>,
    /// `true` if a call may ask the user; wins over the plugin's description.
    pub(crate) interactive: Option<bool>,
    /// `true` if equal requests may share one response; wins over the plugin's description.
    pub(crate) shareable: Option<bool>,
    /// `true` if the plugin can list the secrets that match a pattern; wins over the plugin's description.
    pub(crate) lists: Option<bool>,
}

impl Settings {
    /// Resolves the settings in force with `config`, and with the pins that the user trusted.
    pub(crate) fn new(config: Config, state: &State, generation: u64) -> Self {
        let resolve =
            |name: &PluginName, trusted| Arc::new(PluginSettings::new(&config, name, trusted));
        let configured = config
            .plugins
            .keys()
            .chain(&config.access_modules)
            .chain(config.external.names());
        let mut plugins: BTreeMap<_, _> = configured
            .map(|name| (name.clone(), resolve(name, state.plugin(name).trusted)))
            .collect();
        for (name, remembered) in state.plugins() {
            if remembered.trusted.is_some() {
                plugins
                    .entry(name.clone())
                    .or_insert_with(|| resolve(name, remembered.trusted));
            }
        }
        let file = file_provider();
        plugins
            .entry(file.clone())
            .or_insert_with(|| resolve(&file, None));
        Self {
            generation,
            is_pinning: plugins.values().any(|plugin| plugin.sha256.is_some()),
            unconfigured: Arc::new(PluginSettings::of_table(&config, PluginConfig::default())),
            plugins,
            config,
        }
    }

    /// Returns the settings of a plugin: those of its table, or the defaults.
    pub(crate) fn plugin(&self, name: &PluginName) -> Arc<PluginSettings> {
        self.plugins.get(name).unwrap_or(&self.unconfigured).clone()
    }

    /// Returns every name with settings of its own: those that the configuration mentions, those with a trusted pin, and
    /// `file`.
    pub(crate) fn resolved_names(&self) -> impl Iterator<Item = &PluginName> {
        self.plugins.keys()
    }

    /// Returns every name that the configuration mentions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &PluginName> {
        let mentioned = self
            .plugins
            .iter()
            .filter(|(_, plugin)| plugin.is_configured);
        mentioned.map(|(name, _)| name)
    }
}

impl PluginSettings {
    /// Resolves the settings in force for `name`.
    fn new(config: &Config, name: &PluginName, trusted: Option<Sha256>) -> Self {
        let table = config.plugin(name);
        let is_listed_module = config.access_modules.contains(name);
        let is_listed_external = config.external.names().any(|listed| listed == name);
        let default_priority = if *name == file_provider() { -1 } else { 0 };
        let (priority, resolved) = (table.priority, Self::of_table(config, table));
        Self {
            is_configured: config.mentions(name),
            is_listed_module,
            is_listed_external,
            priority: priority.unwrap_or(default_priority),
            is_pin_configured: resolved.sha256.is_some(),
            sha256: resolved.sha256.or(trusted),
            cache_ttl: resolved.cache_ttl.filter(|_| may_be_cached(name)),
            ..resolved
        }
    }

    /// Resolves the settings that do not depend on the plugin's name.
    fn of_table(config: &Config, table: PluginConfig) -> Self {
        let concurrency = |limit: usize| limit.clamp(1, PluginConfig::MAX_CONCURRENCY) as u32;
        Self {
            is_configured: false,
            is_listed_module: false,
            is_listed_external: false,
            enabled: table.enabled,
            realm: table.realm,
            priority: table.priority.unwrap_or(0),
            required: table.required,
            timeout: table.timeout.unwrap_or(config.request_timeout),
            start_timeout: table.start_timeout.unwrap_or(config.start_timeout),
            user_timeout: table.user_timeout.unwrap_or(config.user_timeout),
            concurrency: table.concurrency.map(concurrency),
            env: table.env,
            pass_env: table.pass_env,
            is_pin_configured: table.sha256.is_some(),
            sha256: table.sha256,
            cache_ttl: table.cache_ttl,
            fatal_exit: table
                .fatal_exit
                .unwrap_or_else(|| [PluginConfig::DEFAULT_FATAL_EXIT].into()),
            may_resolve: table.may_resolve,
            interactive: table.interactive,
            shareable: table.shareable,
            lists: table.lists,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    fn config(text: &str) -> Config {
        let mut config = Config::new("@test".parse().expect("an address"), "/state");
        let path = std::path::Path::new("config.toml");
        config.read_text(text, path).expect("a configuration");
        config
    }

    fn settings(text: &str) -> Settings {
        Settings::new(config(text), &State::default(), 1)
    }

    #[test]
    fn an_unconfigured_plugin_has_the_defaults() {
        let plugin = settings("").plugin(&name("any"));
        assert_eq!(
            (plugin.timeout, plugin.start_timeout, plugin.user_timeout),
            (
                Duration::from_secs(10),
                Duration::from_secs(5),
                Duration::from_secs(120)
            )
        );
        assert_eq!((plugin.priority, plugin.concurrency), (0, None));
        assert_eq!(plugin.fatal_exit, BTreeSet::from([78]));
        assert!(!plugin.is_configured && !plugin.required);
        assert_eq!(plugin.cache_ttl, None);
    }

    #[test]
    fn file_ranks_below_every_other_provider_unless_configured() {
        assert_eq!(settings("").plugin(&name("file")).priority, -1);
        let required = settings("[plugins.file]\nrequired = true");
        assert_eq!(required.plugin(&name("file")).priority, -1);
        let raised = settings("[plugins.file]\npriority = 3");
        assert_eq!(raised.plugin(&name("file")).priority, 3);
        assert!(!settings("").plugin(&name("file")).is_configured);
    }

    #[test]
    fn tables_modules_and_listed_external_names_are_mentioned() {
        let settings = settings(
            "access.modules = ['policy']\nexternal.allow = ['remote']\n[plugins.vault]\npriority = 1",
        );
        let names: Vec<_> = settings.names().map(PluginName::as_str).collect();
        assert_eq!(names, ["policy", "remote", "vault"]);
        let flags = |text| {
            let plugin = settings.plugin(&name(text));
            (
                plugin.is_configured,
                plugin.is_listed_module,
                plugin.is_listed_external,
            )
        };
        assert_eq!(flags("policy"), (true, true, false));
        assert_eq!(flags("remote"), (true, false, true));
        assert_eq!(flags("vault"), (true, false, false));
        assert_eq!(flags("other"), (false, false, false));
    }

    #[test]
    fn a_trusted_pin_turns_pinning_on_and_a_configured_pin_wins() {
        assert!(!settings("").is_pinning);
        let mut state = State::default();
        let trusted = state.update(&name("pass"), |plugin| {
            plugin.trusted = Some(Sha256([1; 32]))
        });
        assert_eq!(trusted, Ok(true));
        let settings = Settings::new(config(""), &state, 1);
        assert!(settings.is_pinning);
        assert_eq!(settings.plugin(&name("pass")).sha256, Some(Sha256([1; 32])));
        assert_eq!(settings.names().count(), 0);

        let text = format!("[plugins.pass]\nsha256 = '{}'", Sha256([2; 32]));
        let settings = Settings::new(config(&text), &state, 1);
        assert_eq!(settings.plugin(&name("pass")).sha256, Some(Sha256([2; 32])));
    }
}
