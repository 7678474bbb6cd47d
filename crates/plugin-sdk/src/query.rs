//! One query as the provider receives it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use keyway_local::Reservation;
use keyway_proto::{MAY_ASK_USER_HEADER, REQUEST_ID_HEADER};
use keyway_secrets::{Id, Pattern};
use tokio::time::Instant;

use crate::{PathBelow, ProviderError};

/// A query: the requested ids and the options of the call. Clones are handles of the same query.
#[derive(Clone, Debug)]
pub struct Query {
    pattern: Pattern,
    options: CallOptions,
    /// The response's share of the memory budget; `None` if the query was created by [`Query::new`].
    reservation: Option<Reservation>,
    incomplete: Arc<Mutex<Option<ProviderError>>>,
}

impl Query {
    /// Creates a query with a deadline `timeout` from now, for a unit test of a provider.
    #[must_use]
    pub fn new(pattern: Pattern, timeout: Duration) -> Self {
        Self {
            pattern,
            options: CallOptions::within(timeout),
            reservation: None,
            incomplete: Arc::default(),
        }
    }

    pub(crate) fn received(
        pattern: Pattern,
        options: CallOptions,
        reservation: Reservation,
    ) -> Self {
        Self {
            pattern,
            options,
            reservation: Some(reservation),
            incomplete: Arc::default(),
        }
    }

    /// Returns the query with prompts allowed or forbidden, for a unit test of a provider. Default: allowed.
    #[must_use]
    pub fn with_may_ask_user(mut self, allowed: bool) -> Self {
        self.options.may_ask_user = allowed;
        self
    }

    /// Reserves memory for values of `bytes` bytes, and waits while the budget is exhausted. Call it before large values are
    /// created, so that concurrent large responses cannot exhaust the memory; the reservation is released when the response
    /// was sent.
    ///
    /// Reservations up to 64 KiB are not counted. The budget of all responses is
    /// [`Plugin::answer_memory`](crate::Plugin::answer_memory); a larger reservation waits for all of it. The wait ends
    /// at the deadline of the call, when its future is dropped. A further reservation of a query that the budget cannot hold
    /// beside the earlier ones is not counted.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing was reserved.
    pub async fn reserve(&self, bytes: u64) {
        if let Some(reservation) = &self.reservation {
            let bytes = bytes.min(reservation.budget_len());
            // A reservation that the budget cannot hold beside earlier ones of the query is not counted, as documented.
            let _ = reservation.reserve(bytes).await;
        }
    }

    /// Returns the pattern of the requested ids; a pattern without wildcards is one id.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Returns `true` if `id` is requested.
    #[must_use]
    pub fn matches(&self, id: &Id) -> bool {
        self.pattern.matches(id)
    }

    /// Returns the one requested id, for a provider that cannot enumerate its secrets.
    ///
    /// # Errors
    ///
    /// Returns [`ProviderError::cannot_list`] for a pattern.
    pub fn require_id(&self) -> Result<Id, ProviderError> {
        self.pattern
            .as_id()
            .ok_or_else(|| ProviderError::cannot_list("this provider can return single ids only"))
    }

    /// Returns the path of the one requested id below a directory, for a store that keeps each secret in a file. See
    /// [`PathBelow`], which opens it.
    ///
    /// # Errors
    ///
    /// Returns [`ProviderError::cannot_list`] for a pattern, and [`ProviderError::invalid`], which counts as "no matching
    /// secret", if a component of the id is `.` or `..`.
    pub fn path_below(&self, directory: impl Into<PathBuf>) -> Result<PathBelow, ProviderError> {
        PathBelow::new(directory, &self.require_id()?)
    }

    /// Returns the deadline of the call: that of the caller, or without one the request timeout of the registration from its
    /// arrival on. Later responses are discarded.
    #[must_use]
    pub fn deadline(&self) -> std::time::Instant {
        self.options.deadline().into_std()
    }

    /// Returns a time before the deadline that leaves `reserve` for the response, but at most a tenth of the time left.
    pub(crate) fn deadline_before(&self, reserve: Duration) -> Instant {
        self.options.deadline() - reserve.min(self.time_left() / 10)
    }

    /// Returns the time until the deadline; zero if it has passed. Later responses are discarded.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.options.time_left()
    }

    /// Returns `true` if the provider may prompt the user (a dialog, a touch of a key). Otherwise a provider that needs to
    /// returns [`ProviderError::needs_user`] at once. Check first whether the store holds the id, if that needs no prompt.
    #[must_use]
    pub fn may_ask_user(&self) -> bool {
        self.options.may_ask_user()
    }

    /// Returns the id of this request in the logs of the daemon: 16 hex digits. `None` if the daemon sent none.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.options.request_id()
    }

    /// Marks the response as incomplete because of `error`. The returned secrets are used; for every other id of the query
    /// this provider counts as failed. Only the first error of a query is kept.
    ///
    /// If no secret is returned, the query fails with `error`. An error of kind
    /// [`NotFound`](crate::ErrorKind::NotFound) is ignored.
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

    /// Takes the error passed to [`incomplete`](Self::incomplete).
    pub(crate) fn take_incomplete(&self) -> Option<ProviderError> {
        self.lock_incomplete().take()
    }

    fn lock_incomplete(&self) -> MutexGuard<'_, Option<ProviderError>> {
        self.incomplete
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The deadline of a call, and the options in its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOptions {
    deadline: Instant,
    may_ask_user: bool,
    /// 16 hex digits.
    request_id: Option<[u8; 16]>,
}

impl CallOptions {
    /// Creates the options of a call without headers that ends in `timeout` from now.
    pub(crate) fn within(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            may_ask_user: true,
            request_id: None,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn may_ask_user(&self) -> bool {
        self.may_ask_user
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        let digits = self.request_id.as_ref()?;
        std::str::from_utf8(digits).ok()
    }

    pub(crate) fn from_headers(headers: &HeaderMap, deadline: Instant) -> Self {
        let forbids = headers
            .get(MAY_ASK_USER_HEADER)
            .is_some_and(|value| value == "0");
        Self {
            deadline,
            may_ask_user: !forbids,
            request_id: request_id(headers),
        }
    }
}

/// Reads the request id. It is logged, so any other form than that of the protocol is dropped.
fn request_id(headers: &HeaderMap) -> Option<[u8; 16]> {
    let id: [u8; 16] = headers.get(REQUEST_ID_HEADER)?.as_bytes().try_into().ok()?;
    id.iter().all(u8::is_ascii_hexdigit).then_some(id)
}

#[cfg(test)]
mod tests {
    use keyway_local::MemoryBudget;

    use super::*;
    use crate::ErrorKind;

    fn received(headers: &[(&'static str, &str)]) -> Query {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let reservation = MemoryBudget::new(0).reservation();
        let options = CallOptions::from_headers(&map, Instant::now());
        Query::received(Pattern::everything(), options, reservation)
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_left_decreases_to_zero() {
        let query = Query::new(Pattern::everything(), Duration::from_secs(3));
        assert_eq!(query.time_left(), Duration::from_secs(3));
        let deadline = query.options.deadline;
        assert_eq!(query.deadline(), deadline.into_std());
        let before = |reserve| deadline - query.deadline_before(reserve);
        assert_eq!(before(Duration::from_millis(100)).as_millis(), 100);
        assert_eq!(before(Duration::from_secs(1)).as_millis(), 300);
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
    async fn require_id_fails_for_a_pattern() {
        let query = |text: &str| Query::new(text.parse().unwrap(), Duration::ZERO);
        assert_eq!(query("a/b").require_id().unwrap().as_str(), "a/b");
        let error = query("a/*").require_id().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotList);
    }

    #[tokio::test]
    async fn the_first_failure_is_kept_and_not_found_is_ignored() {
        let query = Query::new(Pattern::everything(), Duration::ZERO);
        query.incomplete(ProviderError::not_found("no such entry"));
        assert!(query.take_incomplete().is_none());
        query.clone().incomplete(ProviderError::locked("locked"));
        query.incomplete(ProviderError::internal("broken"));
        let error = query.take_incomplete().unwrap();
        assert_eq!(error.kind(), ErrorKind::Locked);
    }
}
