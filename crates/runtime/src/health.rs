//! `GET /health` and `GetVersion`: what every caller that is let in may ask, on the daemon socket and on plugin connections.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use keyway_http::RequestBody;
use keyway_proto::health::v1 as health;
use keyway_rpc::{Body, Error, Response as RpcResponse, Router};
use tower_service::Service;

use crate::config::VersionInfo;

/// The path.
pub(crate) const PATH: &str = "/health";

/// The answer.
pub(crate) fn response() -> Response<Body> {
    Response::new(Body::full("ok"))
}

/// The response to `GetVersion`.
pub(crate) fn version(version: &VersionInfo) -> health::GetVersionResponse {
    health::GetVersionResponse {
        version: Some(version.version.clone()),
        date: Some(version.date.clone()),
        commit_hash: Some(version.commit.clone()),
    }
}

/// Says to a plugin which version the daemon is.
#[derive(Debug)]
pub(crate) struct Version(pub(crate) VersionInfo);

impl health::VersionService for Version {
    async fn get_version(
        &self,
        _request: keyway_rpc::Request<health::GetVersionRequest>,
    ) -> Result<RpcResponse<health::GetVersionResponse>, Error> {
        Ok(RpcResponse::new(version(&self.0)))
    }
}

/// Adds `/health` to a router.
#[derive(Clone)]
pub(crate) struct WithHealth {
    router: Router,
}

impl WithHealth {
    pub(crate) fn new(router: Router) -> Self {
        Self { router }
    }
}

type RouterFuture = <Router as Service<Request<RequestBody>>>::Future;
type Answer = futures::future::Either<Ready<Result<Response<Body>, Infallible>>, RouterFuture>;

impl Service<Request<RequestBody>> for WithHealth {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answer {
        let is_health =
            request.uri().path() == PATH && matches!(*request.method(), Method::GET | Method::HEAD);
        if is_health {
            return Answer::Left(ready(Ok(response())));
        }
        Answer::Right(self.router.call(request))
    }
}
