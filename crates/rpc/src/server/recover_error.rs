//! [`RecoverError`]: turns the errors of tower layers into responses.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::Method;
use http_body::{Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::request_body::RequestBody;
use crate::connect::server::failure;
use crate::{Body, BoxError, Error};

/// Wraps a service in [`RecoverError`].
///
/// ```
/// use std::time::Duration;
/// use keyway_rpc::{Body, Error, RecoverErrorLayer, Router};
/// use tower::ServiceBuilder;
///
/// fn authorize(request: http::Request<Body>) -> Result<http::Request<Body>, Error> {
///     match request.headers().get("authorization") {
///         Some(token) if token == "Bearer dummy" => Ok(request),
///         _ => Err(Error::unauthenticated("send a token")),
///     }
/// }
///
/// let router = Router::new();
/// let service = ServiceBuilder::new()
///     .layer(RecoverErrorLayer::new())
///     .timeout(Duration::from_secs(30))
///     .filter(authorize)
///     .service(router);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "it has no settings")]
pub struct RecoverErrorLayer;

impl RecoverErrorLayer {
    /// Returns the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for RecoverErrorLayer {
    type Service = RecoverError<S>;

    fn layer(&self, service: S) -> RecoverError<S> {
        RecoverError::new(service)
    }
}

/// Responds for a service that failed, so that layers which can fail fit around a
/// [`Router`](crate::Router): HTTP servers take services that do not fail.
///
/// An [`Error`] becomes the response. An error of any other type is logged and becomes `unavailable`
/// without its text, which may not be meant for callers; map it to an [`Error`] first (`map_err`) to
/// say more. The rest of the request is read before the response, up to 1 MiB of it
/// for at most 2 s, so that the client does not miss it; nothing is read if the client waits
/// for `100 Continue`.
///
/// If `poll_ready` of the service fails, the service is not called any more, as tower's contract
/// demands: this value and its clones respond to every later request with that error. A server
/// that clones a working service for each connection starts anew with the next one.
#[derive(Clone, Debug)]
pub struct RecoverError<S> {
    service: S,
    /// The error of a `poll_ready` that failed.
    failed: Option<Error>,
}

impl<S> RecoverError<S> {
    /// Wraps `service`.
    pub fn new(service: S) -> Self {
        Self {
            service,
            failed: None,
        }
    }
}

impl<S, B, RB> Service<http::Request<B>> for RecoverError<S>
where
    S: Service<http::Request<Body>, Response = http::Response<RB>>,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
    RB: Into<Body>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = RecoverFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.failed.is_none()
            && let Err(error) = ready!(self.service.poll_ready(cx))
        {
            self.failed = Some(to_error(error.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let body = RequestBody::new(&head, Body::new(body));
        let method = head.method.clone();
        let state = match &self.failed {
            Some(error) => State::Recovering {
                response: Box::pin(recover(error.clone(), method, Some(body))),
            },
            None => {
                let slot = Slot::default();
                let body = RecoverableBody {
                    body: Some(body),
                    slot: slot.clone(),
                };
                let request = http::Request::from_parts(head, Body::new(body));
                State::Called {
                    future: self.service.call(request),
                    method,
                    slot,
                }
            }
        };
        RecoverFuture { state }
    }
}

fn to_error(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => {
            tracing::warn!(%error, "request failed in a layer");
            Error::unavailable("the request was not served").with_source(error)
        }
    }
}

/// Returns the response to a request whose body was not read, or not to its end.
async fn recover(
    error: Error,
    method: Method,
    body: Option<RequestBody<Body>>,
) -> http::Response<Body> {
    if let Some(body) = body {
        pin!(body).read_rest().await;
    }
    failure(&error, &method)
}

/// Holds the body of a request once the service has dropped it.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<RequestBody<Body>>>>);

impl Slot {
    fn put(&self, body: RequestBody<Body>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    fn take(&self) -> Option<RequestBody<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of a request, which returns to its slot when it is dropped.
struct RecoverableBody {
    /// `Some` until the drop.
    body: Option<RequestBody<Body>>,
    slot: Slot,
}

impl Drop for RecoverableBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.slot.put(body);
        }
    }
}

impl http_body::Body for RecoverableBody {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BoxError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

pin_project_lite::pin_project! {
    /// The future of a [`RecoverError`]'s response.
    pub struct RecoverFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] future: F, method: Method, slot: Slot },
        Recovering { response: Pin<Box<dyn Future<Output = http::Response<Body>> + Send>> },
    }
}

impl<F, B, E> Future for RecoverFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: Into<Body>,
    E: Into<BoxError>,
{
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if let StateProjection::Called {
            future,
            method,
            slot,
        } = this.state.as_mut().project()
        {
            match ready!(future.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response.map(Into::into))),
                Err(error) => {
                    let (error, method) = (to_error(error.into()), method.clone());
                    let slot = slot.clone();
                    // Drops the failed future, and with it the body that it may still hold.
                    this.state.set(State::Recovering {
                        response: Box::pin(async move {
                            let body = slot.take();
                            recover(error, method, body).await
                        }),
                    });
                }
            }
        }
        match this.state.project() {
            StateProjection::Recovering { response } => response.as_mut().poll(cx).map(Ok),
            StateProjection::Called { .. } => unreachable!("the state was replaced"),
        }
    }
}

impl<F> fmt::Debug for RecoverFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoverFuture").finish_non_exhaustive()
    }
}
