//! The services of a provider: `ResolverService` and `CatalogService`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use keyway_local::{MemoryBudget, Reservation, with_causes};
use keyway_proto::keyway::v1::{
    CatalogService, CatalogServiceServer, ListSecretsRequest, ListSecretsResponse, Secret,
};
use keyway_proto::registration::check_pattern;
use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
};
use keyway_proto::{INCOMPLETE_HEADER, timestamp};
use keyway_rpc::{BinaryMetadata as _, Error, Request, Response, Router};
use keyway_secrets::{Envelope, Id, Pattern};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};

use crate::admission::Admission;
use crate::blocking::describe_stuck;
use crate::query::CallOptions;
use crate::watchdog::watched;
use crate::{Listed, ProviderError, Query, SecretsProvider};

pub(super) fn routes<P: SecretsProvider>(
    provider: Arc<P>,
    realm: Arc<[Pattern]>,
    response_memory: MemoryBudget,
    admission: Admission,
) -> Router {
    let service = Arc::new(Service {
        provider,
        response_memory,
        admission,
        realm,
        has_warned: AtomicBool::new(false),
    });
    Router::new()
        .add_service(ResolverServiceServer::<Service<P>>::new(Arc::clone(
            &service,
        )))
        .add_service(CatalogServiceServer::<Service<P>>::new(service))
}

struct Service<P> {
    provider: Arc<P>,
    /// The memory budget of large responses.
    response_memory: MemoryBudget,
    admission: Admission,
    realm: Arc<[Pattern]>,
    /// `true` once a secret outside of a query was logged. The warning is not repeated.
    has_warned: AtomicBool,
}

impl<P: SecretsProvider> ResolverService for Service<P> {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let admitted = self.admit(request, |message| message.pattern).await?;
        let query = &admitted.query;
        let found = admitted
            .complete("get_secrets", self.provider.get_secrets(query))
            .await?;
        let envelopes = self.select(query, found, |envelope| &envelope.id);
        let incomplete = query.take_incomplete();
        if envelopes.is_empty() {
            return Err(match incomplete {
                Some(error) => into_rpc(error, query),
                None => no_match(query.pattern()),
            });
        }
        let envelopes = envelopes
            .into_iter()
            .map(with_resolved_at)
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
        // A listing never prompts, even if the caller allows it.
        admitted.query = admitted.query.with_may_ask_user(false);
        let query = &admitted.query;
        let found = admitted
            .complete("list_secrets", self.provider.list_secrets(query))
            .await?;
        let listed = self.select(query, found, |listed| &listed.id);
        let incomplete = query.take_incomplete();
        let listing = ListSecretsResponse {
            secrets: listed.into_iter().map(to_wire).collect(),
            unlisted: Vec::new(),
        };
        Ok(admitted.respond(listing, incomplete))
    }
}

/// An admitted query.
struct Admitted {
    query: Query,
    /// The response's share of the memory budget.
    reservation: Reservation,
    timeout: Duration,
}

impl Admitted {
    /// Waits for the provider's result until the deadline of the call.
    async fn complete<T>(
        &self,
        handler: &'static str,
        result: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, Error> {
        let result = watched(handler, self.query.pattern(), result);
        match timeout_at(self.query.deadline().into(), result).await {
            Ok(result) => result.map_err(|error| into_rpc(error, &self.query)),
            Err(_) => Err(Error::deadline_exceeded(format!(
                "the provider did not respond within {:.1} s{}",
                self.timeout.as_secs_f64(),
                describe_stuck()
            ))),
        }
    }

    /// Builds the response, with a header if it is incomplete.
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
        if !self.reservation.is_empty() {
            response.extensions_mut().insert(self.reservation);
        }
        response
    }
}

/// Logs the cause of an error and converts it into the error of the RPC.
fn into_rpc(error: ProviderError, query: &Query) -> Error {
    error.log_source(query.request_id());
    error.into_rpc()
}

impl<P: SecretsProvider> Service<P> {
    /// Waits for admission and parses the query.
    async fn admit<M>(
        &self,
        request: Request<M>,
        pattern: impl FnOnce(M) -> Option<String>,
    ) -> Result<Admitted, Error> {
        let arrived = Instant::now();
        let deadline = self.admission.admit(request.deadline()).await?;
        let options = CallOptions::from_headers(request.metadata(), deadline);
        let text = pattern(request.into_message()).unwrap_or_default();
        let pattern =
            check_pattern(&text).map_err(|error| Error::invalid_argument(with_causes(&error)))?;
        let reservation = self.response_memory.reservation();
        Ok(Admitted {
            query: Query::received(pattern, options, reservation.clone()),
            reservation,
            timeout: deadline - arrived,
        })
    }

    /// Drops secrets that do not match the query or are outside of the realm.
    fn select<T>(&self, query: &Query, mut found: Vec<T>, id: impl Fn(&T) -> &Id) -> Vec<T> {
        found.retain(|item| {
            let id = id(item);
            let is_in_realm = self.realm.iter().any(|pattern| pattern.matches(id));
            let is_requested = query.matches(id) && is_in_realm;
            if !is_requested && !self.has_warned.swap(true, Ordering::Relaxed) {
                let (query, realm) = (query.pattern(), &self.realm);
                tracing::warn!(%id, %query, ?realm, "dropped a secret that does not match the query; further ones are not logged");
            }
            is_requested
        });
        found
    }
}

/// Sets `resolved_at`, which peers expect, unless the provider has set it.
fn with_resolved_at(mut envelope: Envelope) -> Envelope {
    envelope.resolved_at.get_or_insert_with(SystemTime::now);
    envelope
}

fn no_match(pattern: &Pattern) -> Error {
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
