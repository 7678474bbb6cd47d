//! The failure of a candidate: its text for the client, and its fields for the log.

use std::time::{Duration, Instant};

use http::HeaderValue;
use keyway_local::{escape_untrusted, shortened, with_causes};
use keyway_proto::keyway::v1::{self as keyway, FailureKind};
use keyway_proto::limits::{MAX_FAILURES, MAX_FAILURES_LEN};
use keyway_proto::{FAILED_PROVIDERS_HEADER, FAILURES_HEADER};
use keyway_rpc::{BinaryMetadata as _, Error, ErrorDetail};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message as _;

use crate::model::PluginName;
use crate::plugin::{CallError, View};

/// The most bytes of one of them. A longer one has neither message nor remedy.
const MAX_FAILURE_LEN: usize = 2 * 1024;

/// The longest message, in characters.
const MAX_MESSAGE_CHARS: usize = 512;

/// The longest list of names in a header.
const MAX_NAMES_LEN: usize = 1024;

/// The characters that are escaped in the header that joins names with commas.
const NAME_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%');

/// A candidate that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) provider: PluginName,
    pub(crate) kind: FailureKind,
    /// The failure in words for the user; may contain text of the provider, escaped.
    pub(crate) message: String,
    /// An action for the user, by the provider, escaped; empty for an external plugin.
    pub(crate) remedy: String,
    pub(crate) retry_after: Option<Duration>,
    /// `true` if the realm of the provider is everything, so that the failure concerns every id.
    pub(crate) is_everything: bool,
}

impl Failure {
    /// Creates a failure that the daemon itself states.
    pub(crate) fn new(view: &View, kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            provider: view.name.clone(),
            kind,
            message: shortened(&message.into(), MAX_MESSAGE_CHARS),
            remedy: String::new(),
            retry_after: None,
            is_everything: view
                .realm
                .as_ref()
                .is_some_and(|realm| realm.is_everything()),
        }
    }

    /// Returns the failure of a plugin that is not running; `next_start` is when it is started again by
    /// itself.
    pub(crate) fn not_running(view: &View, kind: FailureKind, next_start: Option<Instant>) -> Self {
        let now = Instant::now();
        Self {
            retry_after: next_start.map(|at| at.saturating_duration_since(now)),
            ..Self::new(view, kind, view.message.clone())
        }
    }

    /// Returns the failure of a call; `None` if the plugin said that no secret matches.
    pub(crate) fn of_call(view: &View, error: &CallError, is_single: bool) -> Option<Self> {
        let detail = error.failure(is_single)?;
        let failure = Self::of_detail(view, &detail, with_causes(error));
        let Some(pid) = view.stopped_process(error) else {
            return Some(failure);
        };
        Some(Self {
            message: format!("{}: its process {pid} is stopped", failure.message),
            remedy: format!("continue it with `kill -CONT {pid}`"),
            ..failure
        })
    }

    /// Returns a failure as the plugin described it. `message` is the text of the plugin, escaped.
    pub(crate) fn of_detail(view: &View, detail: &keyway::Failure, message: String) -> Self {
        let remedy = if view.is_external() {
            String::new()
        } else {
            escape_untrusted(detail.remedy()).to_string()
        };
        Self {
            remedy,
            retry_after: detail.retry_after(),
            ..Self::new(view, detail.kind(), message)
        }
    }

    /// Returns one sentence without the full stop: the provider, its failure and the cause.
    pub(crate) fn sentence(&self) -> String {
        let (name, phrase) = (&self.provider, phrase(self.kind));
        if self.message.is_empty() {
            format!("{name} {phrase}")
        } else {
            format!("{name} {phrase}: {}", self.message)
        }
    }

    /// Returns the failure on the wire.
    pub(crate) fn to_wire(&self) -> keyway::ProviderFailure {
        let wire = keyway::ProviderFailure {
            name: Some(self.provider.to_string()),
            kind: Some(self.kind.into()),
            message: Some(self.message.clone()),
            remedy: Some(self.remedy.clone()),
            retry_after: self.retry_after.and_then(|time| time.try_into().ok()),
        };
        if wire.encoded_len() <= MAX_FAILURE_LEN {
            return wire;
        }
        keyway::ProviderFailure {
            message: None,
            remedy: None,
            ..wire
        }
    }
}

/// Returns the verb phrase of a provider with this kind of failure.
pub(crate) fn phrase(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Locked => "is locked",
        FailureKind::NeedsUser => "needs to prompt, which the query forbids",
        FailureKind::Denied => "does not give it to this user",
        FailureKind::Unavailable => "cannot provide it now",
        FailureKind::TimedOut => "took too long",
        FailureKind::Quota => "has used up its quota",
        FailureKind::Invalid => "does not accept the query",
        FailureKind::Fatal => "is set up wrongly",
        FailureKind::Unauthenticated => "is not logged in",
        FailureKind::CannotList => "cannot list its secrets",
        FailureKind::Unspecified | FailureKind::Internal => "failed",
        FailureKind::Starting => "has not started yet",
        FailureKind::Down => "is not running",
        FailureKind::Busy => "is busy",
        FailureKind::Conflict => "disagrees with a provider of the same rank",
        FailureKind::Refused => "may not run",
    }
}

/// Returns the failures on the wire, within the limits; the last one then states how many were left out.
pub(crate) fn to_wire(failures: &[Failure]) -> keyway::Failures {
    let mut wire = keyway::Failures::default();
    for (index, failure) in failures.iter().enumerate() {
        wire.providers.push(failure.to_wire());
        let is_last = index + 1 == failures.len();
        // Space for the entry that counts the omitted ones.
        let limit = if is_last {
            MAX_FAILURES_LEN
        } else {
            MAX_FAILURES_LEN - 128
        };
        if wire.providers.len() > MAX_FAILURES - usize::from(!is_last) || wire.encoded_len() > limit
        {
            wire.providers.pop();
            wire.providers.push(keyway::ProviderFailure {
                kind: Some(failure.kind.into()),
                message: Some(format!("{} more failed", failures.len() - index)),
                ..keyway::ProviderFailure::default()
            });
            break;
        }
    }
    wire
}

/// Returns the names for the header that peers without details read, cut at a whole name.
fn names(failures: &[Failure]) -> Option<HeaderValue> {
    let mut text = String::new();
    for failure in failures {
        let name = utf8_percent_encode(failure.provider.as_str(), NAME_ESCAPES).to_string();
        if text.len() + name.len() + 1 > MAX_NAMES_LEN {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&name);
    }
    (!text.is_empty()).then(|| HeaderValue::from_str(&text).expect("escaped names are printable"))
}

/// Adds the failures to the headers of a partial result.
pub(crate) fn add_headers(headers: &mut http::HeaderMap, failures: &[Failure]) {
    if let Some(names) = names(failures) {
        headers.insert(FAILED_PROVIDERS_HEADER, names);
        headers
            .append_binary(FAILURES_HEADER, &to_wire(failures).encode_to_vec())
            .expect("the name of the header is a constant that ends in -bin");
    }
}

/// Returns the error with the failures as its detail.
pub(crate) fn with_failures(error: Error, failures: &[Failure]) -> Error {
    let mut error = error.with_detail(ErrorDetail::new(&to_wire(failures)));
    if let Some(names) = names(failures) {
        error
            .own_metadata_mut()
            .insert(FAILED_PROVIDERS_HEADER, names);
    }
    error
}

#[cfg(test)]
mod tests;
