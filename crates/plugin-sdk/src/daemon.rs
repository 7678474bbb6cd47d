//! The handle with which a provider sends reports to the daemon.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_http::Exchange;
use keyway_mux::{Connector, Session};
use keyway_proto::keyway::v1::{ChangedRequest, HostServiceClient};
use keyway_proto::limits::{MAX_CHANGED_PATTERNS, MAX_CHANGES_PER_SECOND};
use keyway_rpc::{Code, Request};
use keyway_secrets::Pattern;
use tokio::sync::Notify;

/// Limit for one report.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a report, in which further changes become one.
const PAUSE: Duration = Duration::from_millis(1000 / MAX_CHANGES_PER_SECOND as u64);
/// The pause after a report that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A handle to the daemon that the plugin is connected to. Clones are the same handle.
///
/// A daemon keeps responses of a provider if its configuration says so (`cache_ttl`), and lets equal calls in flight share one
/// response if the provider is [shareable](crate::Description::shareable). A provider that learns of changes in its store reports them,
/// so that the next query gets the new value.
///
/// ```no_run
/// use keyway_plugin_sdk::{Daemon, Plugin};
/// # use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider};
/// # struct MyProvider;
/// # impl SecretsProvider for MyProvider {
/// #     fn pattern(&self) -> Pattern { Pattern::everything() }
/// #     async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> { Ok(vec![]) }
/// # }
/// # fn watch_store(on_change: impl Fn(&str)) {}
///
/// fn main() -> std::process::ExitCode {
///     let daemon = Daemon::new();
///     Plugin::default().daemon(&daemon).run_with(|| {
///         let daemon = daemon.clone();
///         watch_store(move |_name| daemon.changed(&Pattern::everything()));
///         Ok(MyProvider)
///     })
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Daemon(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The changes that were not reported yet.
    changes: Mutex<Changes>,
    changed: Notify,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Changes {
    #[default]
    None,
    Some(Vec<Pattern>),
    All,
}

impl Changes {
    fn add(&mut self, pattern: &Pattern) {
        match self {
            Self::All => {}
            Self::None => *self = Self::Some(vec![pattern.clone()]),
            Self::Some(patterns) if patterns.iter().any(|known| known.covers(pattern)) => {}
            Self::Some(patterns) if patterns.len() == MAX_CHANGED_PATTERNS => *self = Self::All,
            Self::Some(patterns) => patterns.push(pattern.clone()),
        }
    }

    /// Returns the request that reports the changes, if there are any.
    fn take(&mut self) -> Option<ChangedRequest> {
        let patterns = match mem::take(self) {
            Self::None => return None,
            Self::All => Vec::new(),
            Self::Some(patterns) => patterns.iter().map(ToString::to_string).collect(),
        };
        Some(ChangedRequest { patterns })
    }
}

impl Daemon {
    /// Creates a handle, to be given to [`Plugin::daemon`](crate::Plugin::daemon).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports that secrets changed whose ids match `pattern`: were stored, replaced or removed. Returns at once, and may be called
    /// from any thread.
    ///
    /// Reports are best effort and coalesced, at most 10 a second. Without a connection nothing is reported, because the daemon keeps
    /// nothing of a plugin that is not connected.
    pub fn changed(&self, pattern: &Pattern) {
        self.changes().add(pattern);
        self.0.changed.notify_one();
    }

    /// Reports the changes from now on, for as long as the future is polled. A daemon that does not know the method gets none.
    pub(crate) async fn report(&self, session: &Session) {
        // The daemon has nothing of a plugin that has just registered.
        *self.changes() = Changes::None;
        let client = HostServiceClient::new(Exchange::new(Connector::new(session.clone())));
        loop {
            self.0.changed.notified().await;
            let Some(report) = self.changes().take() else {
                continue;
            };
            let request = Request::new(report).timeout(TIMEOUT);
            let pause = match client.changed(request).await {
                Ok(_) => PAUSE,
                Err(error) if error.code() == Code::Unimplemented => {
                    tracing::debug!("the daemon takes no reports of changed secrets");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "changed secrets were not reported");
                    *self.changes() = Changes::All;
                    self.0.changed.notify_one();
                    RETRY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn changes_are_coalesced_and_many_become_all() {
        let mut changes = Changes::default();
        assert_eq!(changes.take(), None);
        for text in ["a/**", "a/b", "b/c"] {
            changes.add(&pattern(text));
        }
        let report = changes.take().expect("two changes");
        assert_eq!(report.patterns, ["a/**", "b/c"]);
        assert_eq!(changes.take(), None);
        for n in 0..=MAX_CHANGED_PATTERNS {
            changes.add(&pattern(&format!("c/{n}")));
        }
        changes.add(&pattern("d"));
        assert_eq!(changes, Changes::All);
        assert_eq!(changes.take().expect("all").patterns.len(), 0);
    }
}
