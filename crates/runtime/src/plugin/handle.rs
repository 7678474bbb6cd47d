//! Calling a registered plugin.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyway_local::{escape_untrusted, format_duration, shortened};
use keyway_mux::{Connector, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::v1 as catalog;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_rpc::client::{self, Client};
use keyway_rpc::http1::Exchange;
use keyway_rpc::{Budget, Claim, Code, Error, Request, Response};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, SharedAnswer};
use crate::config::PluginConfig;
use crate::name::PluginName;
use crate::registration::{Generation, Registration};

/// The largest answer of a plugin: room for a few values of 8 MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How much earlier than ours a plugin's deadline may pass: it counts in whole milliseconds.
const DEADLINE_SLACK: Duration = Duration::from_millis(5);

type Transport = Exchange<Connector>;

/// Calls one plugin over its connection: each call on a stream of its own, a bounded number at once, each with a deadline. A call
/// that fails fails alone.
#[derive(Debug)]
pub(crate) struct Handle {
    name: PluginName,
    generation: Generation,
    permits: Semaphore,
    cache: Cache,
    /// Told when the plugin turns out to be of no use.
    useless: Notify,
    resolver: resolver::ResolverServiceClient<Transport>,
    catalog: catalog::CatalogServiceClient<Transport>,
    access: access::AccessControlServiceClient<Transport>,
    plugin: plugins::PluginServiceClient<Transport>,
    legacy_plugin: resolver::PluginServiceClient<Transport>,
}

/// Why a call to a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// So many calls wait for it that this one did not get its turn.
    #[error("busy: no turn within {}", format_duration(*.0))]
    Busy(Duration),
    /// There was no room for its answer.
    #[error("no room for its answer within {}: other large answers fill `answer_memory`", format_duration(*.0))]
    NoRoom(Duration),
    /// It took too long.
    #[error("no answer within {}", format_duration(*.0))]
    TimedOut(Duration),
    /// It is too old to be asked.
    #[error(
        "it was built with a plugin SDK before v0.0.9, which cannot answer GetSecrets: rebuild it with a current one"
    )]
    TooOld,
    /// It answered with an error, or its connection broke.
    #[error("{}", describe(.0))]
    Rpc(Error),
}

/// An error of a provider for the caller who asked: the code, and the provider's own words, made harmless.
fn describe(error: &Error) -> String {
    let words = shortened(&escape_untrusted(error.message()), 200);
    if words.is_empty() {
        error.code().to_string()
    } else {
        format!("{}: {words}", error.code())
    }
}

impl CallError {
    /// What may be logged: a provider's own words might quote a secret, so only the code.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::Rpc(error) => error.code().to_string(),
            other => other.to_string(),
        }
    }

    /// Whether the plugin said that it has nothing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.code() == Code::NotFound)
    }

    /// Whether the time was over before there was an answer.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::NoRoom(_) | Self::TimedOut(_))
    }

    /// Whether the plugin does not know the method.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.code() == Code::Unimplemented)
    }
}

impl Handle {
    /// For the plugin at the other end of `session`. `concurrency` is the number of calls that it gets at once.
    pub(crate) fn new(
        registration: &Registration,
        session: Session,
        concurrency: Option<usize>,
    ) -> Arc<Self> {
        // Answers are asked for as they are: on a local socket gzip costs more than it saves.
        let config = client::Config::default()
            .accept_compression(false)
            .max_message_size(MAX_ANSWER);
        let client = Client::with_config(Exchange::new(Connector::new(session)), config);
        Arc::new(Self {
            name: registration.name.clone(),
            generation: registration.generation,
            permits: Semaphore::new(concurrency.unwrap_or(PluginConfig::DEFAULT_CONCURRENCY)),
            cache: Cache::default(),
            useless: Notify::new(),
            resolver: client.clone().into(),
            catalog: client.clone().into(),
            access: client.clone().into(),
            plugin: client.clone().into(),
            legacy_plugin: client.into(),
        })
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &PluginName {
        &self.name
    }

    /// Resolves when a call found that the plugin cannot do what it registered for. Cancel safe.
    pub(crate) async fn found_useless(&self) -> CallError {
        self.useless.notified().await;
        CallError::TooOld
    }

    /// Asks a provider for secrets. The answer is counted against `claim`.
    pub(crate) async fn get_secrets(
        &self,
        pattern: &str,
        limit: Duration,
        claim: &Claim,
    ) -> Result<resolver::GetSecretsResponse, CallError> {
        let message = resolver::GetSecretsRequest {
            pattern: Some(pattern.into()),
        };
        let result = self
            .counted(message, limit, claim, |request| {
                self.resolver.get_secrets(request)
            })
            .await;
        match result {
            Err(error) if self.generation == Generation::Engine && error.is_unimplemented() => {
                self.useless.notify_one();
                Err(CallError::TooOld)
            }
            result => result,
        }
    }

    /// As [`get_secrets`](Self::get_secrets), but an answer of the last `ttl` will do, and the same question of several callers
    /// is asked once. The request itself may take `patience`, whoever waits for it; while its answer is read, that is counted
    /// against `budget`.
    pub(crate) async fn get_secrets_cached(
        self: &Arc<Self>,
        pattern: &str,
        ttl: Duration,
        patience: Duration,
        budget: &Budget,
    ) -> SharedAnswer {
        let ask = || {
            let (handle, pattern) = (Arc::clone(self), pattern.to_owned());
            // Who waits for the answer may change, so the request has a claim of its own until it is complete.
            let claim = budget.claim();
            async move { Arc::new(handle.get_secrets(&pattern, patience, &claim).await) }.boxed()
        };
        self.cache.get(pattern, ttl, ask).await
    }

    /// Forgets the answers that could be used again.
    pub(crate) fn forget_answers(&self) {
        self.cache.clear();
    }

    /// Asks a provider what it has, without values. The answer is counted against `claim`.
    pub(crate) async fn list_secrets(
        &self,
        pattern: &str,
        limit: Duration,
        claim: &Claim,
    ) -> Result<catalog::ListSecretsResponse, CallError> {
        let message = catalog::ListSecretsRequest {
            pattern: Some(pattern.into()),
        };
        self.counted(message, limit, claim, |request| {
            self.catalog.list_secrets(request)
        })
        .await
    }

    /// Asks an access-control module about a query.
    pub(crate) async fn check_access(
        &self,
        message: access::CheckAccessRequest,
        limit: Duration,
    ) -> Result<access::CheckAccessResponse, CallError> {
        self.call(message, limit, |request| self.access.check_access(request))
            .await
    }

    /// Asks an access-control module ahead of use.
    pub(crate) async fn authorize(
        &self,
        message: access::AuthorizeRequest,
        limit: Duration,
    ) -> Result<access::AuthorizeResponse, CallError> {
        self.call(message, limit, |request| self.access.authorize(request))
            .await
    }

    /// Tells the plugin that its connection is going to be closed, by the path that it knows. Does not wait for a turn.
    pub(crate) async fn shut_down(&self, limit: Duration) -> Result<(), Error> {
        if self.generation == Generation::PluginsRegister {
            let request = Request::new(plugins::ShutdownRequest {}).with_timeout(limit);
            self.plugin.shutdown(request).await.map(drop)
        } else {
            let request = Request::new(resolver::ShutdownRequest {}).with_timeout(limit);
            self.legacy_plugin.shutdown(request).await.map(drop)
        }
    }

    /// As [`call`](Self::call); the answer is counted against `claim`, and read when there is room for it.
    async fn counted<In, Out, F>(
        &self,
        message: In,
        limit: Duration,
        claim: &Claim,
        method: impl FnOnce(Request<In>) -> F,
    ) -> Result<Out, CallError>
    where
        F: Future<Output = Result<Response<Out>, Error>>,
    {
        let method = |request: Request<In>| method(request.with_claim(claim.clone()));
        match self.call(message, limit, method).await {
            Err(CallError::TimedOut(limit)) if claim.is_crowded() => Err(CallError::NoRoom(limit)),
            result => result,
        }
    }

    /// One call: waits for its turn, then for the answer, both within `limit`.
    async fn call<In, Out, F>(
        &self,
        message: In,
        limit: Duration,
        method: impl FnOnce(Request<In>) -> F,
    ) -> Result<Out, CallError>
    where
        F: Future<Output = Result<Response<Out>, Error>>,
    {
        let deadline = Instant::now() + limit;
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(CallError::Busy(limit));
        };
        let _permit = permit.expect("the semaphore is never closed");
        let mut request = Request::new(message);
        request.set_deadline(deadline);
        match method(request).await {
            Ok(response) => Ok(response.into_message()),
            // Who answers so in good time speaks of a deadline of its own.
            Err(error)
                if error.code() == Code::DeadlineExceeded
                    && Instant::now() + DEADLINE_SLACK >= deadline =>
            {
                Err(CallError::TimedOut(limit))
            }
            Err(error) => Err(CallError::Rpc(error)),
        }
    }
}
