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
use keyway_proto::timestamp;
use keyway_rpc::{Budget, Claim, Error, Request, Response, Router};
use keyway_secrets::{Envelope, Id, Pattern};
use tokio::time::{Instant, timeout_at};

use crate::gate::Gate;
use crate::{Listed, ProviderError, Query, SecretsProvider};

pub(super) fn routes<P: SecretsProvider>(provider: Arc<P>, answers: Budget, gate: Gate) -> Router {
    let realm = provider.pattern();
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
    /// As registered: asking the provider again could give another answer.
    realm: Pattern,
    /// Whether the author was told of answers that nobody asked for. Once is enough.
    warned: AtomicBool,
}

impl<P: SecretsProvider> ResolverService for Service<P> {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let deadline = request.deadline();
        let pattern = request.into_message().pattern;
        let query = self.admit(pattern, deadline).await?;
        let found = self
            .ask(&query, self.provider.get_secrets(&query.query))
            .await?;
        let envelopes = self.select(&query, found, |envelope| &envelope.id);
        if envelopes.is_empty() {
            return Err(nothing_matches(query.query.pattern()));
        }
        let envelopes = envelopes
            .into_iter()
            .map(resolved_now)
            .map(Into::into)
            .collect();
        let mut response = Response::new(GetSecretsResponse { envelopes });
        if query.claim.holds() {
            response.keep_until_sent(query.claim);
        }
        Ok(response)
    }
}

impl<P: SecretsProvider> CatalogService for Service<P> {
    async fn list_secrets(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Error> {
        let deadline = request.deadline();
        let pattern = request.into_message().pattern;
        let query = self.admit(pattern, deadline).await?;
        let found = self
            .ask(&query, self.provider.list_secrets(&query.query))
            .await?;
        let listed = self.select(&query, found, |listed| &listed.id);
        let secrets = listed.into_iter().map(to_wire).collect();
        let mut response = Response::new(ListSecretsResponse {
            secrets,
            unlisted: Vec::new(),
        });
        if query.claim.holds() {
            response.keep_until_sent(query.claim);
        }
        Ok(response)
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

impl<P: SecretsProvider> Service<P> {
    /// Waits at the gate and reads the pattern.
    async fn admit(
        &self,
        pattern: Option<String>,
        deadline: Option<Instant>,
    ) -> Result<Admitted, Error> {
        let arrived = Instant::now();
        let until = self.gate.pass(deadline).await?;
        let text = pattern.unwrap_or_default();
        let pattern: Pattern = text.parse().map_err(|error| {
            Error::invalid_argument(format!("`{text}` is not an id or a pattern: {error}"))
        })?;
        let claim = self.answers.claim();
        let query = Query::until(pattern, until, claim.clone());
        Ok(Admitted {
            query,
            claim,
            until,
            allowed: until - arrived,
        })
    }

    /// Waits for the provider's answer, as long as its caller does.
    async fn ask<T>(
        &self,
        admitted: &Admitted,
        answer: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, Error> {
        match timeout_at(admitted.until, answer).await {
            Ok(answer) => answer.map_err(ProviderError::into_rpc),
            Err(_) => Err(Error::deadline_exceeded(format!(
                "the provider did not answer within {:.1} s",
                admitted.allowed.as_secs_f64()
            ))),
        }
    }

    /// Drops what was not asked for, or lies outside of the realm.
    fn select<T>(&self, admitted: &Admitted, mut found: Vec<T>, id: impl Fn(&T) -> &Id) -> Vec<T> {
        found.retain(|item| {
            let id = id(item);
            let wanted = admitted.query.matches(id) && self.realm.matches(id);
            if !wanted && !self.warned.swap(true, Ordering::Relaxed) {
                let (query, realm) = (admitted.query.pattern(), &self.realm);
                tracing::warn!(%id, %query, %realm, "the provider returned a secret that was not asked for; such secrets are dropped");
            }
            wanted
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
