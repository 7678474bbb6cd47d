//! `GET /health`: 200 and `ok`, on the daemon socket and on both ends of a plugin connection.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use keyway_rpc::{Body, Router};
use tower_service::Service;

/// The path.
pub(crate) const PATH: &str = "/health";

/// The answer.
pub(crate) fn response() -> Response<Body> {
    Response::new(Body::full("ok"))
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

type RouterFuture = <Router as Service<Request<Body>>>::Future;
type Answer = futures::future::Either<Ready<Result<Response<Body>, Infallible>>, RouterFuture>;

impl Service<Request<Body>> for WithHealth {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let is_health =
            request.uri().path() == PATH && matches!(*request.method(), Method::GET | Method::HEAD);
        if is_health {
            return Answer::Left(ready(Ok(response())));
        }
        Answer::Right(self.router.call(request))
    }
}
