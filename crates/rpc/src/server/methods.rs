//! [`Methods`]: the service below the layers of a router.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::dispatch;
use super::route::Route;
use super::settings::Settings;
use crate::connect::server::failure;
use crate::{Body, Error};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The methods of a [`Router`](crate::Router) as a service, for [layers](crate::Router::layer) around
/// it.
#[derive(Clone, Default)]
pub struct Methods {
    layered: Option<Layered>,
}

/// The methods inside of layers whose types are erased.
pub(super) type Layered = Arc<dyn ErasedService>;

pub(super) trait ErasedService: Send + Sync {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<http::Response<Body>>;
}

/// A layered service, cloned for each request, because readiness belongs to one clone.
struct Erased<S>(S);

impl<S, B> ErasedService for Erased<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Into<Body>,
{
    fn call(&self, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
            let Ok(response) = service.call(request).await;
            response.map(Into::into)
        })
    }
}

impl Methods {
    pub(super) fn new(layered: Option<Layered>) -> Self {
        Self { layered }
    }

    /// Erases the type of a service that a layer returned.
    pub(super) fn erase<S, B>(service: S) -> Layered
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Into<Body> + 'static,
    {
        Arc::new(Erased(service))
    }
}

/// The method of a request, which travels through the layers in its extensions.
#[derive(Clone)]
pub(super) struct Routed {
    pub(super) settings: Settings,
    pub(super) route: Route,
}

impl Service<http::Request<Body>> for Methods {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(layered) = &self.layered {
            let response = layered.call(request);
            return Box::pin(async { Ok(response.await) });
        }
        let routed = request.extensions_mut().remove::<Routed>();
        Box::pin(async move {
            let Some(Routed { settings, route }) = routed else {
                let path = request.uri().path();
                tracing::error!(path, "request extensions removed by a layer");
                let error = Error::internal("the method of the request is not known");
                return Ok(failure(&error, request.method()));
            };
            Ok(dispatch::respond(&settings, &route, request).await)
        })
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods")
            .field("is_layered", &self.layered.is_some())
            .finish()
    }
}
