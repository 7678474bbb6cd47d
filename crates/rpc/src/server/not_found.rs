//! [`NotFound`]: the fallback without another.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::StatusCode;
use tower_service::Service;

use super::request_body::RequestBody;
use crate::{Body, BoxError};

/// The fallback of a [`Router`](crate::Router) without another: 404 and no body, which clients read
/// as `unimplemented`. A request is read first, up to 1 MiB of it for at most 2 s, so that the client does not miss the response.
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
            let (head, body) = request.into_parts();
            pin!(RequestBody::new(&head, body)).read_rest().await;
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        })
    }
}
