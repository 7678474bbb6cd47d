//! The description of a provider, sent with its registration.

use keyway_proto::keyway::v1::PluginDescription;
use keyway_proto::limits::DEFAULT_CONCURRENCY;
use keyway_secrets::Pattern;

/// The description of a provider beyond its realm, sent with its registration; see
/// [`SecretsProvider::describe`](crate::SecretsProvider::describe).
///
/// ```
/// use keyway_plugin_sdk::Description;
///
/// let description = Description::new()
///     .description("Secrets of the team's vault")
///     .homepage("https://example.org/vault")
///     .concurrency(8)
///     .interactive(true)
///     .lists(true);
/// assert_eq!(description.concurrency, 8);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Maximum number of concurrent calls.
    pub concurrency: u32,
    /// `true` if one result may serve several callers.
    pub shareable: bool,
    /// `true` if a call may prompt the user, or has a side effect.
    pub interactive: bool,
    /// `Some(true)` if the provider can list; `None` if the daemon must try it.
    pub lists: Option<bool>,
    /// `true` if the provider stores secrets that clients write.
    pub stores: bool,
    /// A text about the plugin, for the user; may be empty.
    pub description: String,
    /// Address of further documentation; may be empty.
    pub homepage: String,
}

impl Default for Description {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            shareable: false,
            interactive: false,
            lists: None,
            stores: false,
            description: String::new(),
            homepage: String::new(),
        }
    }
}

impl Description {
    /// Creates a description with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum number of concurrent calls, 1 to 1,024. Configuration may lower it; further calls wait in the daemon.
    /// Default: 64.
    #[must_use]
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.concurrency = calls;
        self
    }

    /// Sets whether one result may serve several callers of the same request in flight. Not for one-time passwords and
    /// leases. Default: `false`.
    #[must_use]
    pub fn shareable(mut self, shareable: bool) -> Self {
        self.shareable = shareable;
        self
    }

    /// Sets whether a call may prompt the user, or has a side effect such as a lease, a quota or a charge. For one id the
    /// daemon then calls this provider only after every higher rank has no matching secret, and for a pattern with
    /// [prompts forbidden](crate::Query::may_ask_user). Default: `false`.
    #[must_use]
    pub fn interactive(mut self, interactive: bool) -> Self {
        self.interactive = interactive;
        self
    }

    /// Sets whether the provider implements [`list_secrets`](crate::SecretsProvider::list_secrets). Default: the daemon finds
    /// out by calling it.
    #[must_use]
    pub fn lists(mut self, lists: bool) -> Self {
        self.lists = Some(lists);
        self
    }

    /// Sets whether the provider stores secrets: it implements [`set_secret`](crate::SecretsProvider::set_secret),
    /// [`remove_secret`](crate::SecretsProvider::remove_secret), [`list_versions`](crate::SecretsProvider::list_versions) and
    /// [`restore_version`](crate::SecretsProvider::restore_version). Default: `false`.
    #[must_use]
    pub fn stores(mut self, stores: bool) -> Self {
        self.stores = stores;
        self
    }

    /// Sets a text about the plugin, for the user; at most 256 bytes. Default: empty.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Sets the address of further documentation; at most 256 bytes. Default: empty.
    #[must_use]
    pub fn homepage(mut self, address: impl Into<String>) -> Self {
        self.homepage = address.into();
        self
    }

    /// Returns the message for a realm. A realm of one pattern is the registered pattern and is left out.
    pub(crate) fn to_wire(&self, realm: &[Pattern]) -> PluginDescription {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        PluginDescription {
            patterns: match realm {
                [_] => Vec::new(),
                several => several.iter().map(Pattern::to_string).collect(),
            },
            concurrency: Some(self.concurrency),
            shareable: Some(self.shareable),
            interactive: Some(self.interactive),
            lists: self.lists,
            stores: self.stores.then_some(true),
            description: text(&self.description),
            homepage: text(&self.homepage),
        }
    }

    #[cfg(feature = "test-kit")]
    pub(crate) fn from_wire(message: PluginDescription) -> Self {
        Self {
            concurrency: message.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
            shareable: message.shareable(),
            interactive: message.interactive(),
            lists: message.lists,
            stores: message.stores(),
            description: message.description.unwrap_or_default(),
            homepage: message.homepage.unwrap_or_default(),
        }
    }
}
