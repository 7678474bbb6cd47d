//! [`AnswerErrors`]: errors of tower layers as answers.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use crate::{Body, BoxError, Error};

/// Answers what the service in it fails with, so that layers which can fail fit around a
/// [`Router`](crate::Router): servers want services that always answer.
///
/// An [`Error`] becomes the answer as it is. Of an error of any other type, only its kind of
/// failure is told, as `unavailable`; the error itself is logged, since its text may not be meant
/// for callers. Turn it into an [`Error`] first (`map_err`) to say more.
///
/// ```
/// use std::time::Duration;
/// use keyway_rpc::{AnswerErrors, Body, Error, Router};
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
///     .layer_fn(AnswerErrors::new)
///     .timeout(Duration::from_secs(30))
///     .filter(authorize)
///     .service(router);
/// ```
#[derive(Clone, Debug)]
pub struct AnswerErrors<S> {
    service: S,
    /// Said by a service that will never be ready.
    failed: Option<Error>,
}

impl<S> AnswerErrors<S> {
    /// Answers what `service` fails with.
    pub fn new(service: S) -> Self {
        Self {
            service,
            failed: None,
        }
    }
}

impl<S, R, B> Service<R> for AnswerErrors<S>
where
    S: Service<R, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Into<Body>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = AnswerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if let Err(error) = ready!(self.service.poll_ready(cx)) {
            self.failed = Some(to_error(error.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = match &self.failed {
            Some(error) => State::Failed {
                error: Some(error.clone()),
            },
            None => State::Called {
                future: self.service.call(request),
            },
        };
        AnswerFuture { state }
    }
}

fn to_error(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => {
            tracing::warn!(%error, "a request was not served");
            Error::unavailable("the request was not served").with_source(error)
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of [`AnswerErrors`] on its way.
    pub struct AnswerFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] future: F },
        Failed { error: Option<Error> },
    }
}

impl<F, B, E> Future for AnswerFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: Into<Body>,
    E: Into<BoxError>,
{
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = match self.project().state.project() {
            StateProjection::Called { future } => ready!(future.poll(cx)).map_err(Into::into),
            StateProjection::Failed { error } => {
                Err(error.take().expect("polled until it is ready").into())
            }
        };
        Poll::Ready(Ok(match answered {
            Ok(response) => response.map(Into::into),
            Err(error) => to_error(error).into_response(),
        }))
    }
}

impl<F> fmt::Debug for AnswerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFuture").finish_non_exhaustive()
    }
}
