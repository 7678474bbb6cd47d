//! `GET /health`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode};
use keyway_rpc::Body;

/// Responds to `GET /health` with 200 and `ok`, and to all other paths with 404.
///
/// It reports that the process and its connection are alive, and never calls the provider, which could prompt the user
/// or use a quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health;

impl<B> tower_service::Service<http::Request<B>> for Health {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let is_health = request.uri().path() == "/health";
        let (status, body) = match *request.method() {
            Method::GET | Method::HEAD if is_health => {
                (StatusCode::OK, Body::from(Bytes::from_static(b"ok")))
            }
            _ if is_health => (StatusCode::METHOD_NOT_ALLOWED, Body::empty()),
            _ => (StatusCode::NOT_FOUND, Body::empty()),
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = status;
        ready(Ok(response))
    }
}
