//! The routes of the daemon's sockets.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use keyway_http::{Admission, Health, RequestBody};
use keyway_rpc::{Body, Error, Router};
use tower_service::Service;

use super::docker;
use super::hijack::Hijack;
use crate::caller::Peer;
use crate::config::Current;

/// The service of one connection.
#[derive(Clone)]
pub(super) struct ClientService {
    router: Router<Fallback>,
    /// In the extensions of each request.
    peer: Arc<Peer>,
    admission: Admission,
    settings: Arc<Current>,
}

impl ClientService {
    pub(super) fn new(
        router: Router<Fallback>,
        peer: Arc<Peer>,
        admission: Admission,
        settings: Arc<Current>,
    ) -> Self {
        Self {
            router,
            peer,
            admission,
            settings,
        }
    }
}

type RouterFuture = <Router<Fallback> as Service<Request<RequestBody>>>::Future;

impl Service<Request<RequestBody>> for ClientService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response<Body>, Infallible>>, RouterFuture>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.router.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let is_served = self.admission == Admission::Regular
            || [Health::PATH, GET_VERSION].contains(&request.uri().path());
        if !is_served {
            let error = Error::resource_exhausted("the daemon is at its limit of connections");
            let (head, _) = request.into_parts();
            return Either::Left(Box::pin(ready(Ok(error.into_response(&head)))));
        }
        request.extensions_mut().insert(Arc::clone(&self.peer));
        if request.uri().path() == docker::PATH && self.settings.load().config.docker_writes {
            let response = docker::respond(self.router.clone(), request);
            return Either::Left(Box::pin(response.map(Ok)));
        }
        Either::Right(self.router.call(request))
    }
}

/// The method that is served whatever the load.
const GET_VERSION: &str = "/health.v1.VersionService/GetVersion";

/// The services beside the RPC services.
#[derive(Clone)]
pub(super) struct Fallback {
    pub(super) hijack: Arc<Hijack>,
}

impl Service<Request<RequestBody>> for Fallback {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        if request.uri().path() != Hijack::PATH {
            let response = Health.respond(&request).map(Body::from);
            return Box::pin(ready(Ok(response)));
        }
        let hijack = Arc::clone(&self.hijack);
        Box::pin(async move { Ok(hijack.respond(&request).await) })
    }
}
