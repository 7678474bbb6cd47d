//! The settings in force: one immutable value for each reload, with everything resolved for each plugin.
//!
//! This is the only place that knows defaults, and what the state adds to the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyway_secrets::Pattern;

use super::{Config, Sha256};
use crate::name::PluginName;

/// What is in force between two reloads.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration as given.
    pub(crate) config: Config,
    /// Counts the reloads; unequal generations are unequal settings.
    pub(crate) generation: u64,
    /// Whether any plugin is pinned, by configuration or by state.
    pub(crate) is_pinning: bool,
    plugins: BTreeMap<PluginName, Arc<PluginSettings>>,
    unconfigured: Arc<PluginSettings>,
}

/// What is in force for one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginSettings {
    /// Whether the configuration mentions the name: a table, `[access] modules` or a list in `[external] allow`.
    pub(crate) is_configured: bool,
    /// Whether the name stands in `[access] modules`.
    pub(crate) is_listed_module: bool,
    /// Whether the name stands in a list of `[external] allow`.
    pub(crate) is_listed_external: bool,
    /// `enabled` of the configuration.
    pub(crate) enabled: Option<bool>,
    /// What the realm is cut to; `None`: not cut.
    pub(crate) realm: Option<Vec<Pattern>>,
    /// The rank among providers, higher first.
    pub(crate) priority: i64,
    /// Whether a failure fails every pattern query that overlaps the realm.
    pub(crate) required: bool,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// How long a start may take, from the fork to the answered registration.
    pub(crate) start_timeout: Duration,
    /// How long one request may take that may ask the user.
    pub(crate) user_timeout: Duration,
    /// The most calls in flight; `None`: what the plugin's description says.
    pub(crate) concurrency: Option<u32>,
    /// Variables set in the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Variables of the daemon's environment handed on.
    pub(crate) pass_env: Vec<String>,
    /// The pin in force, of the configuration or trusted by the user.
    pub(crate) sha256: Option<Sha256>,
    /// How long responses are kept; `None`: not at all.
    pub(crate) cache_ttl: Option<Duration>,
    /// Exit statuses after which a restart is pointless.
    pub(crate) fatal_exit: BTreeSet<i32>,
    /// What processes of this plugin may resolve.
    pub(crate) may_resolve: Vec<Pattern>,
    /// Overrides of the plugin's description.
    pub(crate) interactive: Option<bool>,
    pub(crate) shareable: Option<bool>,
    pub(crate) lists: Option<bool>,
}

impl Settings {
    /// The settings of a plugin, of its table or the defaults.
    pub(crate) fn plugin(&self, name: &PluginName) -> Arc<PluginSettings> {
        self.plugins.get(name).unwrap_or(&self.unconfigured).clone()
    }
}
