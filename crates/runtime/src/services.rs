//! The RPC services of the daemon socket.

mod catalog;
mod management;
mod resolver;

use std::sync::Arc;

use keyway_proto::health::v1 as health;
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver_v1;
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::Pattern;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::identity::Peer;
use crate::manager::ManagerHandle;
use crate::resolve::Question;
use crate::server::Caller;

/// Implements all services of the daemon socket.
#[derive(Clone)]
pub(crate) struct Services {
    engine: Arc<Engine>,
    manager: ManagerHandle,
}

impl Services {
    pub(crate) fn new(engine: Arc<Engine>, manager: ManagerHandle) -> Self {
        Self { engine, manager }
    }

    /// A question whose answers are counted against the memory that the configuration sets aside.
    fn question<'a>(&self, query: &'a Pattern, deadline: Option<Instant>) -> Question<'a> {
        Question {
            query,
            deadline,
            claim: self.engine.answer_memory().claim(),
        }
    }

    /// The services under their paths.
    pub(crate) fn into_router(self) -> Router {
        let services = Arc::new(self);
        Router::new()
            .add_service(resolver_v1::ResolverServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(resolver_v1::AuthorizerServiceServer::<Self>::new(
                Arc::clone(&services),
            ))
            .add_service(resolver_v1::ListServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(plugins::PluginManagementServiceServer::<Self>::new(
                Arc::clone(&services),
            ))
            .add_service(keyway::CatalogServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(keyway::ManagementServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(health::VersionServiceServer::<Self>::new(services))
    }
}

/// Who made the request.
fn caller<M>(request: &Request<M>) -> Result<Arc<Peer>, Error> {
    // Every request comes through the server, which puts the caller there.
    let caller = request.extensions().get::<Caller>();
    caller
        .map(|caller| Arc::clone(&caller.0))
        .ok_or_else(|| Error::internal("the caller of this request is not known"))
}

/// The pattern in a request.
fn pattern(text: Option<&str>) -> Result<Pattern, Error> {
    text.unwrap_or_default()
        .parse()
        .map_err(|error| Error::invalid_argument(format!("the pattern is not valid: {error}")))
}

impl health::VersionService for Services {
    async fn get_version(
        &self,
        _request: Request<health::GetVersionRequest>,
    ) -> Result<Response<health::GetVersionResponse>, Error> {
        let version = self.engine.config().version.clone();
        Ok(Response::new(health::GetVersionResponse {
            version: Some(version.version),
            date: Some(version.date),
            commit_hash: Some(version.commit),
        }))
    }
}
