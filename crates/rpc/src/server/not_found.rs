//! [`NotFound`]: what is at no path.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::StatusCode;
use http::header::EXPECT;
use tower_service::Service;

use super::dispatch;
use crate::{Body, BoxError};

/// The fallback of a [`Router`](crate::Router) without another: 404 and no body, which clients read
/// as `unimplemented`. A request is read before it is answered, up to 64 MiB of it (1 MiB over HTTP/2) for at most 2 s,
/// so that the client is there to see the answer.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NotFound;

impl<B> Service<http::Request<B>> for NotFound
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async {
            // A client that asks before it sends has its answer, and sends nothing then.
            if !request.headers().contains_key(EXPECT) {
                dispatch::read_rest(request.version(), pin!(request.into_body())).await;
            }
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        })
    }
}
