//! Calling a registered plugin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};
use keyway_http::{Exchange, ExchangeError};
use keyway_mux::{Connector, Session, StreamError};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::store::v1 as store;
use keyway_proto::keyway::v1::{self as keyway, FailureKind};
use keyway_proto::limits::MAX_RESPONSE_LEN;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::response::{Decoded, InvalidResponse, Items, Undecoded};
use keyway_proto::{INCOMPLETE_HEADER, MAY_ASK_USER_HEADER, REQUEST_ID_HEADER};
use keyway_rpc::client::{self, Client, ReserveMemory, ResponseTooLarge};
use keyway_rpc::{BinaryMetadata as _, Code, Error, MethodSpec, Request, Response};
use keyway_secrets::Pattern;
use prost::{Message, Name};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::flight::{Arrived, Flights, Key, SharedResponse, Sharing};
use super::registration::{Generation, Registration};
use crate::config::PluginSettings;
use crate::model::{PluginName, RequestId};
use keyway_local::{
    MemoryBudget, MemoryError, Reservation, escape_untrusted, format_duration, shortened,
};

/// The pause before a query that was refused for the sake of an older one is tried again.
const CONTENTION_PAUSE: Duration = Duration::from_secs(1);

/// The time for which a response waits for memory while its plugin holds it: a plugin resets a stream of which nothing is read
/// for 30 s, and its response would be lost.
const MEMORY_WAIT_LIMIT: Duration = Duration::from_secs(25);

/// The time by which a plugin's deadline may precede the daemon's: it counts in whole milliseconds.
const DEADLINE_SLACK: Duration = Duration::from_millis(5);

/// The longest part of a provider's own message that is handed on, in characters.
const MAX_MESSAGE_CHARS: usize = 200;

/// The longest response to a call that writes, or that lists versions, in bytes.
const MAX_STORE_RESPONSE_LEN: usize = 1024 * 1024;

type Transport = Exchange<Connector>;

/// Calls one plugin over its connection: each call on a stream of its own, a bounded number at once, each with a deadline. A call
/// that fails fails alone.
#[derive(Debug)]
pub(crate) struct Handle {
    registration: Arc<Registration>,
    permits: Semaphore,
    flights: Flights<SharedResponse>,
    /// The permits that exist, in use or not.
    concurrency: Mutex<usize>,
    /// Until when the store's quota is used up, and the failure that said so.
    quota: Mutex<Option<(Instant, keyway::Failure)>>,
    /// Notified when a call found that the plugin does not support its registered kind.
    unsupported: Notify,
    session: Session,
    client: Client<Transport>,
    access: access::AccessControlServiceClient<Transport>,
    pub(super) store: store::StoreServiceClient<Transport>,
    plugin: plugins::PluginServiceClient<Transport>,
    legacy_plugin: resolver::PluginServiceClient<Transport>,
}

/// The data of every request to a plugin, and its time limit.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    pub(crate) request_id: RequestId,
    /// `true` if the plugin may ask the user.
    pub(crate) may_ask_user: bool,
    /// Limit for the call, with the wait for a permit.
    pub(crate) limit: Duration,
}

/// The response of a provider.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    pub(crate) envelopes: Vec<Envelope>,
    /// The number of envelopes that exceed their limits, which `envelopes` does not hold.
    pub(crate) n_too_large: usize,
    /// About how many bytes the envelopes take in memory.
    pub(crate) memory_len: u64,
    /// The failure that makes the response incomplete, if the provider reported one.
    pub(crate) incomplete: Option<keyway::Failure>,
}

/// The list of a provider, without values.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) decoded: Decoded<keyway::Secret>,
    /// The failure that makes the list incomplete, if the provider reported one.
    pub(crate) incomplete: Option<keyway::Failure>,
}

/// A decoded response, and about how many bytes it takes in memory.
struct Counted<T> {
    decoded: Decoded<T>,
    memory_len: u64,
}

/// Error of a call to a plugin.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// As many calls are in flight as the plugin allows.
    #[error("no free call slot for {}", format_duration(*.0))]
    Busy(Duration),
    /// There was no memory for the response in time.
    #[error("no memory for the response within {}: other large responses fill `answer_memory`", format_duration(*.0))]
    MemoryExhausted(Duration),
    /// There was no memory for the response, and waiting could not help.
    #[error("no memory for the response: other large responses fill `answer_memory`")]
    MemoryContended,
    /// The responses to one query need more than all of the memory for responses.
    #[error(
        "the response and the others of the query need {needed} bytes of memory, and `answer_memory` has {size} bytes"
    )]
    TooLarge { needed: u64, size: u64 },
    /// The response is not valid as a whole.
    #[error(transparent)]
    Invalid(#[from] InvalidResponse),
    /// No response arrived in time.
    #[error("no response within {}", format_duration(*.0))]
    TimedOut(Duration),
    /// No response arrived in time, and the call was not sent before most of that time had passed.
    #[error("no response within {}, most of which the call waited for a free slot", format_duration(*.0))]
    Overdue(Duration),
    /// The plugin speaks an unsupported protocol generation.
    #[error(
        "built with a plugin SDK before v0.0.9, which does not implement GetSecrets: rebuild it with a current SDK"
    )]
    TooOld,
    /// The quota of the store is used up; the plugin was not called.
    #[error("the quota of the store is used up")]
    Quota(keyway::Failure),
    /// The plugin's connection has ended or takes no new calls, so this one was not handled.
    #[error("{why}")]
    NotAccepted { why: String },
    /// The connection or the stream of the call ended without a whole response, or the response is not HTTP.
    #[error("{why}")]
    Broken { code: Code, why: String },
    /// The plugin responded with an error.
    #[error("{}", describe(.0))]
    Rpc(Error),
}

/// Returns the escaped message of a provider for the caller; the sentence of the kind precedes it.
fn describe(error: &Error) -> String {
    shortened(&escape_untrusted(error.message()), MAX_MESSAGE_CHARS)
}

impl CallError {
    /// Returns why the call failed; `None` if the plugin said that no secret matches. `is_single`: whether the query was for one
    /// id.
    pub(crate) fn failure(&self, is_single: bool) -> Option<keyway::Failure> {
        let kind = match self {
            Self::Busy(_) | Self::Overdue(_) | Self::MemoryExhausted(_) | Self::TooLarge { .. } => {
                FailureKind::Busy
            }
            Self::MemoryContended => {
                return Some(keyway::Failure {
                    retry_after: CONTENTION_PAUSE.try_into().ok(),
                    ..keyway::Failure::of_kind(FailureKind::Busy)
                });
            }
            Self::TimedOut(_) => FailureKind::TimedOut,
            Self::TooOld => FailureKind::Fatal,
            Self::NotAccepted { .. } => FailureKind::Down,
            Self::Broken { .. } | Self::Invalid(_) => FailureKind::Internal,
            Self::Quota(failure) => return Some(failure.clone()),
            Self::Rpc(error) => return keyway::Failure::of_error(error, is_single),
        };
        Some(keyway::Failure::of_kind(kind))
    }

    /// Returns `true` if there was no response in time, or no free slot for the call.
    pub(crate) fn is_overdue(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Overdue(_) | Self::TimedOut(_))
    }

    /// Returns the Connect code for the log.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Busy(_)
            | Self::MemoryExhausted(_)
            | Self::MemoryContended
            | Self::NotAccepted { .. } => Code::Unavailable,
            Self::TooLarge { .. } => Code::ResourceExhausted,
            Self::Invalid(_) => Code::Internal,
            Self::TimedOut(_) | Self::Overdue(_) => Code::DeadlineExceeded,
            Self::TooOld => Code::Unimplemented,
            Self::Quota(_) => Code::ResourceExhausted,
            Self::Broken { code, .. } => *code,
            Self::Rpc(error) => error.code(),
        }
    }

    /// Returns `true` if the plugin returned that no secret matches.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.code() == Code::NotFound && self.failure(false).is_none())
    }

    /// Returns `true` if the plugin does not know the method.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.code() == Code::Unimplemented)
    }
}

impl From<MemoryError> for CallError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::TooLarge { needed, size } => Self::TooLarge { needed, size },
            _ => Self::MemoryContended,
        }
    }
}

/// Counts the response of a call as part of the memory that the query has reserved.
struct ResponseMemory(Reservation);

impl ReserveMemory for ResponseMemory {
    async fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let reserved = timeout(MEMORY_WAIT_LIMIT, self.0.reserve(bytes)).await;
        let reserved = reserved.unwrap_or(Err(MemoryError::Contended));
        reserved.map_err(|error| {
            Error::resource_exhausted("no memory for the response").with_source(error)
        })
    }

    fn release(&self, bytes: u64) {
        self.0.release(bytes);
    }
}

impl Handle {
    /// Creates a handle for the plugin at the other end of `session`.
    pub(crate) fn new(
        registration: Arc<Registration>,
        session: Session,
        settings: &PluginSettings,
    ) -> Arc<Self> {
        // Responses are requested without compression: on a local socket gzip costs more than it saves.
        let config = client::Config::default()
            .accept_compression(false)
            .max_message_size(MAX_RESPONSE_LEN);
        let client = Client::with_config(
            Exchange::new(Connector::new(session.clone())),
            config.clone(),
        );
        let store = Client::with_config(
            Exchange::new(Connector::new(session.clone())),
            config.max_message_size(MAX_STORE_RESPONSE_LEN),
        );
        let concurrency = registration.concurrency(settings) as usize;
        Arc::new(Self {
            registration,
            permits: Semaphore::new(concurrency),
            flights: Flights::new(),
            concurrency: Mutex::new(concurrency),
            quota: Mutex::default(),
            unsupported: Notify::new(),
            session,
            access: client.clone().into(),
            store: store.into(),
            plugin: client.clone().into(),
            legacy_plugin: client.clone().into(),
            client,
        })
    }

    /// Returns the plugin's name.
    pub(crate) fn name(&self) -> &PluginName {
        &self.registration.name
    }

    /// Returns the registration of the plugin.
    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Calls in flight and kept responses of equal requests.
    pub(crate) fn flights(&self) -> &Flights<SharedResponse> {
        &self.flights
    }

    /// Applies new settings: the concurrency limit changes for later calls.
    pub(crate) fn configure(&self, settings: &PluginSettings) {
        let limit = self.registration.concurrency(settings) as usize;
        let mut existing = self
            .concurrency
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if limit > *existing {
            self.permits.add_permits(limit - *existing);
            *existing = limit;
        } else {
            *existing -= self.permits.forget_permits(*existing - limit);
        }
    }

    /// Returns the calls that the plugin is working on.
    pub(crate) fn n_in_flight(&self) -> usize {
        let existing = self
            .concurrency
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        existing.saturating_sub(self.permits.available_permits())
    }

    /// Resolves when a call found that the plugin does not support its registered kind.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn unsupported(&self) -> CallError {
        self.unsupported.notified().await;
        CallError::TooOld
    }

    /// Calls a provider for secrets. The response is counted against `reservation`.
    pub(crate) async fn get_secrets(
        &self,
        pattern: &str,
        context: &CallContext,
        reservation: &Reservation,
    ) -> Result<Secrets, CallError> {
        self.check_quota()?;
        let message = resolver::GetSecretsRequest {
            pattern: Some(pattern.into()),
        };
        let spec = &resolver::resolver_service_methods::GET_SECRETS;
        let result = self
            .counted::<_, resolver::GetSecretsResponse>(spec, message, context, reservation)
            .await;
        match result {
            Ok(response) => Ok(secrets(response)),
            Err(error)
                if self.registration.generation == Generation::Engine
                    && error.is_unimplemented() =>
            {
                self.unsupported.notify_one();
                Err(CallError::TooOld)
            }
            Err(error) => {
                self.note_quota(&error);
                Err(error)
            }
        }
    }

    /// As [`get_secrets`](Self::get_secrets), but equal requests share one call and its response may be kept, as `sharing` says. The
    /// call itself may take `full_limit`, however long its callers wait; while its response is read, that is counted against `budget`.
    pub(crate) async fn get_shared(
        self: &Arc<Self>,
        pattern: &Pattern,
        context: &CallContext,
        full_limit: Duration,
        sharing: Sharing,
        (reservation, budget): (&Reservation, &MemoryBudget),
    ) -> Result<Secrets, CallError> {
        let key = Key {
            query: pattern.clone(),
            may_ask_user: context.may_ask_user,
        };
        let call = || {
            let (handle, pattern) = (Arc::clone(self), pattern.clone());
            let context = CallContext {
                limit: full_limit,
                ..context.clone()
            };
            // The callers that wait for the response may change, so the call has a reservation of its own.
            let reservation = budget.reservation();
            async move {
                let response = handle.get_secrets(pattern.as_str(), &context, &reservation);
                Arrived {
                    response: Arc::new(response.await),
                    reservation,
                }
            }
            .boxed()
        };
        let limit = context.limit;
        let copied = timeout_at(Instant::now() + limit, async {
            let arrived = self.flights.get(key, sharing, budget, call).await;
            match Arc::try_unwrap(arrived.response) {
                Ok(result) => {
                    reservation.absorb(arrived.reservation);
                    result
                }
                Err(shared) => {
                    let secrets = shared.as_ref().as_ref().map_err(Clone::clone)?;
                    let (copy, original) = (secrets.memory_len, &arrived.reservation);
                    reservation.reserve_copy(copy, original).await?;
                    Ok(secrets.clone())
                }
            }
        });
        copied.await.unwrap_or_else(|_| {
            Err(match reservation.is_exhausted() {
                true => CallError::MemoryExhausted(limit),
                false => CallError::TimedOut(limit),
            })
        })
    }

    fn check_quota(&self) -> Result<(), CallError> {
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        match &*quota {
            Some((until, failure)) if Instant::now() < *until => {
                let mut failure = failure.clone();
                let left = until.saturating_duration_since(Instant::now());
                failure.retry_after = left.try_into().ok();
                Err(CallError::Quota(failure))
            }
            _ => {
                *quota = None;
                Ok(())
            }
        }
    }

    /// Remembers a used up quota until its end. Without an end the provider is called by the next query.
    fn note_quota(&self, error: &CallError) {
        let CallError::Rpc(error) = error else {
            return;
        };
        let failure = keyway::Failure::of_error(error, true)
            .filter(|failure| failure.kind() == FailureKind::Quota);
        if let Some(failure) = failure
            && let Some(after) = failure.retry_after()
        {
            let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
            *quota = Some((Instant::now() + after, failure));
        }
    }

    /// Calls a provider for the ids that it holds, without values. The response is counted against `reservation`.
    pub(crate) async fn list_secrets(
        &self,
        pattern: &str,
        context: &CallContext,
        reservation: &Reservation,
    ) -> Result<Listed, CallError> {
        let message = keyway::ListSecretsRequest {
            pattern: Some(pattern.into()),
        };
        let spec = &keyway::catalog_service_methods::LIST_SECRETS;
        let response = self
            .counted::<_, keyway::ListSecretsResponse>(spec, message, context, reservation)
            .await?;
        Ok(Listed {
            incomplete: incomplete(response.headers()),
            decoded: response.into_message().decoded,
        })
    }

    /// Calls an access-control module about a query.
    pub(crate) async fn check_access(
        &self,
        message: access::CheckAccessRequest,
        context: &CallContext,
    ) -> Result<access::CheckAccessResponse, CallError> {
        self.call(message, context, |request| {
            self.access.check_access(request)
        })
        .await
        .map(Response::into_message)
    }

    /// Calls an access-control module ahead of use.
    pub(crate) async fn authorize(
        &self,
        message: access::AuthorizeRequest,
        context: &CallContext,
    ) -> Result<access::AuthorizeResponse, CallError> {
        self.call(message, context, |request| self.access.authorize(request))
            .await
            .map(Response::into_message)
    }

    /// Calls the plugin's shutdown method before its connection is closed. Takes no permit.
    pub(crate) async fn shut_down(&self, limit: Duration) -> Result<(), Error> {
        if self.registration.generation == Generation::PluginsRegister {
            let request = Request::new(plugins::ShutdownRequest {}).timeout(limit);
            self.plugin.shutdown(request).await.map(drop)
        } else {
            let request = Request::new(resolver::ShutdownRequest {}).timeout(limit);
            self.legacy_plugin.shutdown(request).await.map(drop)
        }
    }

    /// As [`call`](Self::call); the response is counted against `reservation` as it is in memory, and is read and decoded when
    /// memory is available for it.
    async fn counted<In: Message + Name + 'static, M: Items + 'static>(
        &self,
        spec: &'static MethodSpec,
        message: In,
        context: &CallContext,
        reservation: &Reservation,
    ) -> Result<Response<Counted<M::Item>>, CallError> {
        let limit = context.limit;
        let deadline = Instant::now() + limit;
        let counted = async {
            let method = |request: Request<In>| {
                let request = request.memory(ResponseMemory(reservation.clone()));
                self.client.unary::<In, Undecoded<M>>(spec, request)
            };
            let response = self.call(message, context, method).await?;
            let (parts, undecoded) = response.into_parts();
            // The call has a timer already; that of a small response, which has not to wait, is never armed.
            let decoded = timeout_at(deadline, decode(undecoded, reservation)).await;
            let message = decoded.unwrap_or(Err(CallError::TimedOut(limit)))?;
            Ok(Response::from_parts(parts, message))
        };
        match counted.await {
            Err(CallError::TimedOut(limit)) if reservation.is_exhausted() => {
                Err(CallError::MemoryExhausted(limit))
            }
            result => result,
        }
    }

    /// Makes one call: waits for a permit, then for the response, both within the limit.
    pub(super) async fn call<In, Out, F>(
        &self,
        message: In,
        context: &CallContext,
        method: impl FnOnce(Request<In>) -> F,
    ) -> Result<Response<Out>, CallError>
    where
        F: Future<Output = Result<Response<Out>, Error>>,
    {
        let limit = context.limit;
        let begun = Instant::now();
        let deadline = begun + limit;
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(CallError::Busy(limit));
        };
        let _permit = permit.expect("the semaphore is never closed");
        let waited = begun.elapsed();
        let mut request = Request::new(message).deadline_at(deadline);
        let headers = request.metadata_mut();
        headers.insert(REQUEST_ID_HEADER, context.request_id.header());
        if !context.may_ask_user {
            headers.insert(MAY_ASK_USER_HEADER, HeaderValue::from_static("0"));
        }
        match method(request).await {
            Ok(response) => Ok(response),
            // A response of this code before the deadline is about a deadline of the plugin's own.
            Err(error)
                if error.code() == Code::DeadlineExceeded
                    && Instant::now() + DEADLINE_SLACK >= deadline =>
            {
                Err(overdue(waited, limit))
            }
            Err(error) => Err(if let Some(cause) = error.cause::<MemoryError>() {
                (*cause).into()
            } else if error.cause::<ResponseTooLarge>().is_some() {
                InvalidResponse::TooLong.into()
            } else if let Some(cause) = error.cause::<ExchangeError>() {
                let why = keyway_local::with_causes(cause);
                if self.is_refusal(cause) {
                    CallError::NotAccepted { why }
                } else {
                    CallError::Broken {
                        code: error.code(),
                        why,
                    }
                }
            } else {
                CallError::Rpc(error)
            }),
        }
    }

    /// Returns `true` if the connection takes no new calls, which is why this one failed. A stream may also be refused by a plugin
    /// that has too many of them.
    fn is_refusal(&self, error: &ExchangeError) -> bool {
        let is_refused = match error {
            ExchangeError::Connect(_) => true,
            ExchangeError::Io(error) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
                matches!(cause, Some(StreamError::Refused))
            }
            _ => false,
        };
        is_refused && self.session.is_closing()
    }
}

/// Returns why a call that had `waited` for a permit got no response within `limit`: either other calls took most of the time, or
/// the provider itself did.
fn overdue(waited: Duration, limit: Duration) -> CallError {
    if waited > limit / 2 {
        CallError::Overdue(limit)
    } else {
        CallError::TimedOut(limit)
    }
}

/// Decodes a response when there is memory for it. The encoded bytes are counted already, unless they are few.
async fn decode<M: Items>(
    undecoded: Undecoded<M>,
    reservation: &Reservation,
) -> Result<Counted<M::Item>, CallError> {
    let measured = undecoded.measure()?;
    let memory_len = measured.memory_len();
    let counted = match measured.wire_len() {
        small if small <= MemoryBudget::UNCOUNTED => 0,
        counted => counted,
    };
    let uncounted = memory_len.saturating_sub(counted);
    reservation.reserve(uncounted).await?;
    Ok(Counted {
        decoded: measured.into_items()?,
        memory_len,
    })
}

fn secrets(response: Response<Counted<Envelope>>) -> Secrets {
    let incomplete = incomplete(response.headers());
    let Counted {
        decoded,
        memory_len,
    } = response.into_message();
    Secrets {
        envelopes: decoded.items,
        n_too_large: decoded.n_too_large,
        memory_len,
        incomplete,
    }
}

/// Reads the header of an incomplete response. One that cannot be read counts as a failed provider.
fn incomplete(headers: &HeaderMap) -> Option<keyway::Failure> {
    headers.get(INCOMPLETE_HEADER)?;
    let values = headers.get_binary(INCOMPLETE_HEADER);
    let failure = values
        .ok()
        .and_then(|values| keyway::Failure::decode(values.first()?.clone()).ok())
        .unwrap_or_default()
        .within_limits();
    Some(match failure.kind() {
        FailureKind::Unspecified => keyway::Failure {
            kind: Some(FailureKind::Internal.into()),
            ..failure
        },
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_waited_for_a_permit_most_of_its_time_met_a_busy_provider() {
        let limit = Duration::from_secs(2);
        let kind = |waited| overdue(Duration::from_millis(waited), limit).failure(true);
        for (waited, expected) in [
            (0, FailureKind::TimedOut),
            (1000, FailureKind::TimedOut),
            (1001, FailureKind::Busy),
            (1999, FailureKind::Busy),
        ] {
            let failure = kind(waited).expect("a failure");
            assert_eq!(failure.kind(), expected, "{waited}");
        }
    }
}
