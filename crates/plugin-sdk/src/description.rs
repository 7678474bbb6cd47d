//! What a provider says about itself when it registers, beyond its realm.

use keyway_proto::keyway::v1::PluginDescription;
use keyway_proto::registration::DEFAULT_CONCURRENCY;
use keyway_secrets::Pattern;

/// What a provider says about itself when it registers, beyond its realm; see
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
    /// The most calls at once.
    pub concurrency: u32,
    /// Whether one result may serve several callers.
    pub shareable: bool,
    /// Whether a call may ask the user, or has an effect.
    pub interactive: bool,
    /// Whether the provider can list; `None` lets the daemon find out.
    pub lists: Option<bool>,
    /// What the plugin provides; may be empty.
    pub description: String,
    /// Where to read more; may be empty.
    pub homepage: String,
}

impl Default for Description {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            shareable: false,
            interactive: false,
            lists: None,
            description: String::new(),
            homepage: String::new(),
        }
    }
}

impl Description {
    /// A description with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most calls at once, 1 to 1,024; configuration may lower it, and further calls wait in the daemon. Default: 64.
    #[must_use]
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.concurrency = calls;
        self
    }

    /// Whether one result may serve several callers of the same request in flight. Not for one-time passwords and leases.
    /// Default: `false`.
    #[must_use]
    pub fn shareable(mut self, shareable: bool) -> Self {
        self.shareable = shareable;
        self
    }

    /// Whether a call may ask the user, or has an effect such as a lease, a quota or a charge. For one id the daemon then calls
    /// this provider only after every higher rank has no matching secret, and for a pattern with
    /// [prompts forbidden](crate::Query::may_ask_user). Default: `false`.
    #[must_use]
    pub fn interactive(mut self, interactive: bool) -> Self {
        self.interactive = interactive;
        self
    }

    /// Whether the provider implements [`list_secrets`](crate::SecretsProvider::list_secrets). Default: the daemon finds out by
    /// calling it.
    #[must_use]
    pub fn lists(mut self, lists: bool) -> Self {
        self.lists = Some(lists);
        self
    }

    /// What the plugin provides, for the user; at most 256 bytes.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Where to read more; at most 256 bytes.
    #[must_use]
    pub fn homepage(mut self, address: impl Into<String>) -> Self {
        self.homepage = address.into();
        self
    }

    /// The message for a realm. A realm of one pattern is the registered pattern, which needs no description.
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
            stores: None,
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
            description: message.description.unwrap_or_default(),
            homepage: message.homepage.unwrap_or_default(),
        }
    }
}
