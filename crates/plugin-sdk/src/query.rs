//! One query, as a provider sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use keyway_proto::{MAY_ASK_USER_HEADER, REQUEST_ID_HEADER};
use keyway_rpc::Claim;
use keyway_secrets::{Id, Pattern};
use tokio::time::Instant;

use crate::ProviderError;

/// The ids that are asked for, and the circumstances of the call. Clones are handles of the same query.
#[derive(Clone, Debug)]
pub struct Query {
    pattern: Pattern,
    deadline: Instant,
    circumstances: Circumstances,
    /// What the answer takes of the memory that is set aside; nothing is counted in a test of the author's own.
    claim: Option<Claim>,
    incomplete: Arc<Mutex<Option<ProviderError>>>,
}

impl Query {
    /// A query that must be answered within `time`.
    ///
    /// The SDK makes these; an author needs one to test a provider.
    #[must_use]
    pub fn new(pattern: Pattern, time: Duration) -> Self {
        Self {
            pattern,
            deadline: Instant::now() + time,
            circumstances: Circumstances {
                may_ask_user: true,
                request_id: None,
            },
            claim: None,
            incomplete: Arc::default(),
        }
    }

    pub(crate) fn received(
        pattern: Pattern,
        deadline: Instant,
        circumstances: Circumstances,
        claim: Claim,
    ) -> Self {
        Self {
            pattern,
            deadline,
            circumstances,
            claim: Some(claim),
            incomplete: Arc::default(),
        }
    }

    /// Returns the query with prompts allowed or forbidden, for a test of a provider. Default: allowed.
    #[must_use]
    pub fn with_may_ask_user(mut self, allowed: bool) -> Self {
        self.circumstances.may_ask_user = allowed;
        self
    }

    /// Waits until there is room for values of so many bytes. Call it before large values are made, so that many large
    /// answers at once cannot fill the memory; what was reserved is free again when the answer was sent.
    ///
    /// Up to 64 KiB nothing is counted. The room of all answers together is that of
    /// [`Plugin::answer_memory`](crate::Plugin::answer_memory); a larger reservation waits for all of it. The wait ends
    /// with the call, which is given up when its time is over. Only the first reservation of a query waits.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing was reserved.
    pub async fn reserve(&self, bytes: u64) {
        if let Some(claim) = &self.claim {
            claim.take(bytes).await;
        }
    }

    /// The ids that are asked for: one id, or many at once.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether this id is asked for.
    #[must_use]
    pub fn matches(&self, id: &Id) -> bool {
        self.pattern.matches(id)
    }

    /// The one id that is asked for, for a provider that cannot enumerate its secrets.
    ///
    /// # Errors
    ///
    /// Returns [`ProviderError::cannot_list`] for a pattern.
    pub fn require_id(&self) -> Result<Id, ProviderError> {
        self.pattern
            .as_id()
            .ok_or_else(|| ProviderError::cannot_list("this provider answers for single ids only"))
    }

    /// How long the caller still waits; zero when it has given up. Later responses are discarded.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the provider may ask the user (a prompt, a touch of a key). If not, a provider that would have to returns
    /// [`ProviderError::needs_user`] at once. Check first whether the store holds the id, if that needs no prompt.
    #[must_use]
    pub fn may_ask_user(&self) -> bool {
        self.circumstances.may_ask_user
    }

    /// The name of this request in the logs of the daemon: 16 hex digits. `None` from daemons that send none.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let digits = self.circumstances.request_id.as_ref()?;
        std::str::from_utf8(digits).ok()
    }

    /// States that the response lacks some of what it should hold, because of `error`. The secrets that are returned count, and
    /// for every other id of the query this provider has failed. The first error of a query counts.
    ///
    /// With nothing returned, the query fails with `error`. An error of kind [`NotFound`](crate::ErrorKind::NotFound) states
    /// that nothing is missing, and is ignored.
    ///
    /// ```
    /// use keyway_plugin_sdk::{Envelope, Id, ProviderError, Query};
    ///
    /// fn read_all(ids: &[Id], query: &Query) -> Vec<Envelope> {
    ///     let mut found = Vec::new();
    ///     for id in ids.iter().filter(|id| query.matches(id)) {
    ///         match read(id) {
    ///             Ok(secret) => found.push(secret),
    ///             Err(error) => query.incomplete(error),
    ///         }
    ///     }
    ///     found
    /// }
    /// # fn read(id: &Id) -> Result<Envelope, ProviderError> { Ok(Envelope::new(id.clone(), "x")) }
    /// ```
    pub fn incomplete(&self, error: ProviderError) {
        if error.is_failure() {
            self.lock_incomplete().get_or_insert(error);
        }
    }

    /// Takes why the response is incomplete.
    pub(crate) fn take_incomplete(&self) -> Option<ProviderError> {
        self.lock_incomplete().take()
    }

    fn lock_incomplete(&self) -> MutexGuard<'_, Option<ProviderError>> {
        self.incomplete
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the headers of a request say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    may_ask_user: bool,
    /// 16 hex digits.
    request_id: Option<[u8; 16]>,
}

impl Circumstances {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let forbids = headers
            .get(MAY_ASK_USER_HEADER)
            .is_some_and(|value| value == "0");
        Self {
            may_ask_user: !forbids,
            request_id: request_id(headers),
        }
    }
}

/// The id goes to logs, so it must be what the protocol says.
fn request_id(headers: &HeaderMap) -> Option<[u8; 16]> {
    let id: [u8; 16] = headers.get(REQUEST_ID_HEADER)?.as_bytes().try_into().ok()?;
    id.iter().all(u8::is_ascii_hexdigit).then_some(id)
}

#[cfg(test)]
mod tests {
    use keyway_rpc::Budget;

    use super::*;
    use crate::ErrorKind;

    fn received(headers: &[(&'static str, &str)]) -> Query {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let claim = Budget::new(0).claim();
        let circumstances = Circumstances::of(&map);
        Query::received(Pattern::everything(), Instant::now(), circumstances, claim)
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_left_runs_out() {
        let query = Query::new(Pattern::everything(), Duration::from_secs(3));
        assert_eq!(query.time_left(), Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(query.time_left(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(query.time_left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn prompts_are_allowed_unless_the_caller_forbids_them() {
        assert!(received(&[]).may_ask_user());
        assert!(received(&[("keyway-may-ask-user", "1")]).may_ask_user());
        assert!(!received(&[("keyway-may-ask-user", "0")]).may_ask_user());
    }

    #[tokio::test]
    async fn a_request_id_is_sixteen_hex_digits_or_none() {
        let query = received(&[("keyway-request-id", "0123456789abcdef")]);
        assert_eq!(query.request_id(), Some("0123456789abcdef"));
        for text in ["", "0123456789abcde", "0123456789abcdeg"] {
            let query = received(&[("keyway-request-id", text)]);
            assert_eq!(query.request_id(), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_pattern_is_not_an_id() {
        let query = |text: &str| Query::new(text.parse().unwrap(), Duration::ZERO);
        assert_eq!(query("a/b").require_id().unwrap().as_str(), "a/b");
        let error = query("a/*").require_id().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotList);
    }

    #[tokio::test]
    async fn the_first_failure_makes_a_response_incomplete() {
        let query = Query::new(Pattern::everything(), Duration::ZERO);
        query.incomplete(ProviderError::not_found("no such entry"));
        assert!(query.take_incomplete().is_none());
        query.clone().incomplete(ProviderError::locked("locked"));
        query.incomplete(ProviderError::internal("broken"));
        let error = query.take_incomplete().unwrap();
        assert_eq!(error.kind(), ErrorKind::Locked);
    }
}
