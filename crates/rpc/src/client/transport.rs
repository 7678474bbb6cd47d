//! [`Transport`]: the tower service below a client.

use std::future::Future;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::{Body, BoxError};

/// Carries HTTP requests: an alias of `tower::Service<http::Request<Body>>` with the bounds of a
/// client, implemented for every such service.
///
/// A transport is cloned for each call, so its clones share connections, as those of
/// `hyper_util`'s pooled client and of `keyway-http`'s `Exchange` do.
pub trait Transport: Clone + Send + 'static + sealed::Sealed {
    /// The body of a response.
    type ResponseBody: http_body::Body<Data: Send, Error: Into<BoxError>> + Send;
    /// The error without a response.
    type Error: Into<BoxError>;
    /// The future of a response.
    type Future: Future<Output = Result<http::Response<Self::ResponseBody>, Self::Error>> + Send;

    /// `tower::Service::poll_ready` by a name that is not ambiguous where both traits are imported.
    #[doc(hidden)]
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// `tower::Service::call`.
    #[doc(hidden)]
    fn send(&mut self, request: http::Request<Body>) -> Self::Future;
}

mod sealed {
    #[allow(unnameable_types, reason = "the trait is sealed")]
    pub trait Sealed {}
}

impl<S> sealed::Sealed for S where S: Service<http::Request<Body>> {}

impl<S, B> Transport for S
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send,
{
    type ResponseBody = B;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Service::poll_ready(self, cx)
    }

    fn send(&mut self, request: http::Request<Body>) -> S::Future {
        Service::call(self, request)
    }
}
