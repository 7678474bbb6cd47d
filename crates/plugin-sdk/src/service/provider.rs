//! Serving a provider: `ResolverService` and `CatalogService`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1::{
    CatalogService, CatalogServiceServer, ListSecretsRequest, ListSecretsResponse, Secret,
};
use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
};
use keyway_proto::{INCOMPLETE_HEADER, timestamp};
use keyway_rpc::{BinaryMetadata as _, Budget, Claim, Error, Request, Response, Router};
use keyway_secrets::{Envelope, Id, Pattern};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};

use crate::gate::Gate;
use crate::query::Circumstances;
use crate::{Listed, ProviderError, Query, SecretsProvider};

pub(super) fn routes<P: SecretsProvider>(
    provider: Arc<P>,
    realm: Arc<[Pattern]>,
    answers: Budget,
    gate: Gate,
) -> Router {
    let service = Arc::new(Service {
        provider,
        answers,
        gate,
        realm,
        warned: AtomicBool::new(false),
    });
    Router::new()
        .add_service(ResolverServiceServer::<Service<P>>::new(Arc::clone(
            &service,
        )))
        .add_service(CatalogServiceServer::<Service<P>>::new(service))
}

struct Service<P> {
    provider: Arc<P>,
    /// What the answers that providers announce as large share.
    answers: Budget,
    gate: Gate,
    realm: Arc<[Pattern]>,
    /// Whether the author was told of answers that nobody asked for. Once is enough.
    warned: AtomicBool,
}

impl<P: SecretsProvider> ResolverService for Service<P> {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let admitted = self.admit(request, |message| message.pattern).await?;
        let query = &admitted.query;
        let found = admitted.ask(self.provider.get_secrets(query)).await?;
        let envelopes = self.select(query, found, |envelope| &envelope.id);
        let incomplete = query.take_incomplete();
        if envelopes.is_empty() {
            return Err(match incomplete {
                Some(error) => refuse(error, query),
                None => nothing_matches(query.pattern()),
            });
        }
        let envelopes = envelopes
            .into_iter()
            .map(resolved_now)
            .map(Into::into)
            .collect();
        Ok(admitted.respond(GetSecretsResponse { envelopes }, incomplete))
    }
}

impl<P: SecretsProvider> CatalogService for Service<P> {
    async fn list_secrets(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Error> {
        let mut admitted = self.admit(request, |message| message.pattern).await?;
        // A listing never prompts, whatever the caller says.
        admitted.query = admitted.query.with_may_ask_user(false);
        let query = &admitted.query;
        let found = admitted.ask(self.provider.list_secrets(query)).await?;
        let listed = self.select(query, found, |listed| &listed.id);
        let incomplete = query.take_incomplete();
        let listing = ListSecretsResponse {
            secrets: listed.into_iter().map(to_wire).collect(),
            unlisted: Vec::new(),
        };
        Ok(admitted.respond(listing, incomplete))
    }
}

/// A query that came through the gate.
struct Admitted {
    query: Query,
    /// What its answer takes.
    claim: Claim,
    until: Instant,
    allowed: Duration,
}

impl Admitted {
    /// Waits for the provider's answer, as long as its caller does.
    async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, Error> {
        match timeout_at(self.until, answer).await {
            Ok(answer) => answer.map_err(|error| refuse(error, &self.query)),
            Err(_) => Err(Error::deadline_exceeded(format!(
                "the provider did not answer within {:.1} s",
                self.allowed.as_secs_f64()
            ))),
        }
    }

    /// The response, which says if it is incomplete.
    fn respond<M>(self, message: M, incomplete: Option<ProviderError>) -> Response<M> {
        let mut response = Response::new(message);
        if let Some(error) = incomplete {
            error.log_source(self.query.request_id());
            let failure = error.to_failure().unwrap_or_default().encode_to_vec();
            let headers = response.headers_mut();
            headers
                .append_binary(INCOMPLETE_HEADER, &failure)
                .expect("the name of the header is a constant");
        }
        if self.claim.holds() {
            response.keep_until_sent(self.claim);
        }
        response
    }
}

/// The error of the wire. What is behind it goes to the log.
fn refuse(error: ProviderError, query: &Query) -> Error {
    error.log_source(query.request_id());
    error.into_rpc()
}

impl<P: SecretsProvider> Service<P> {
    /// Waits at the gate and reads the query.
    async fn admit<M>(
        &self,
        request: Request<M>,
        pattern: impl FnOnce(M) -> Option<String>,
    ) -> Result<Admitted, Error> {
        let arrived = Instant::now();
        let until = self.gate.pass(request.deadline()).await?;
        let circumstances = Circumstances::of(request.metadata());
        let text = pattern(request.into_message()).unwrap_or_default();
        let pattern: Pattern = text.parse().map_err(|error| {
            Error::invalid_argument(format!("`{text}` is not an id or a pattern: {error}"))
        })?;
        let claim = self.answers.claim();
        Ok(Admitted {
            query: Query::received(pattern, until, circumstances, claim.clone()),
            claim,
            until,
            allowed: until - arrived,
        })
    }

    /// Drops what was not asked for, or lies outside of the realm.
    fn select<T>(&self, query: &Query, mut found: Vec<T>, id: impl Fn(&T) -> &Id) -> Vec<T> {
        found.retain(|item| {
            let id = id(item);
            let is_of_realm = self.realm.iter().any(|pattern| pattern.matches(id));
            let is_wanted = query.matches(id) && is_of_realm;
            if !is_wanted && !self.warned.swap(true, Ordering::Relaxed) {
                let (query, realm) = (query.pattern(), &self.realm);
                tracing::warn!(%id, %query, ?realm, "the provider returned a secret that was not asked for; such secrets are dropped");
            }
            is_wanted
        });
        found
    }
}

/// Peers expect to be told when a secret was looked up; a provider that knows better has said so.
fn resolved_now(mut envelope: Envelope) -> Envelope {
    envelope.resolved_at.get_or_insert_with(SystemTime::now);
    envelope
}

fn nothing_matches(pattern: &Pattern) -> Error {
    Error::not_found(format!("no secret matches `{pattern}`"))
}

fn to_wire(listed: Listed) -> Secret {
    Secret {
        id: Some(listed.id.into()),
        provider: None,
        version: Some(listed.version),
        created_at: Some(timestamp::to_wire(listed.created_at)),
        expires_at: Some(timestamp::to_wire(listed.expires_at)),
        metadata: listed.metadata,
    }
}
