//! [`Router`]: the service that an HTTP server mounts.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::dispatch;
use super::not_found::NotFound;
use super::route::{IntoRoutes, Route};
use super::shared::{Settings, Shared};
use crate::{Body, BoxError, Compression};

/// Serves methods over HTTP: a `tower::Service` for requests with any body.
///
/// A router is made once and cloned for each connection; a clone is two pointers. Requests to paths
/// that belong to no method go to the fallback, which answers 404 unless
/// [another](Router::with_fallback) was set.
///
/// Whatever holds the future of a request decides about the handler: dropping it, as hyper does
/// when the client goes away, drops the handler.
///
/// ```
/// use keyway_rpc::Router;
/// use std::time::Duration;
///
/// let router = Router::new()
///     .max_message_size(1024 * 1024)
///     .max_timeout(Duration::from_secs(60));
/// assert!(!router.contains("/demo.Clock/Echo"));
/// ```
#[derive(Clone)]
pub struct Router<F = NotFound> {
    shared: Arc<Shared>,
    fallback: F,
}

impl Router {
    /// A router without a route.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            routes: HashMap::new(),
            settings: Settings::default(),
        };
        Self {
            shared: Arc::new(shared),
            fallback: NotFound,
        }
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Router<F> {
    /// Adds all methods of a service.
    ///
    /// # Panics
    ///
    /// One of its paths is served already.
    #[must_use]
    pub fn add_service(self, service: impl IntoRoutes) -> Self {
        service
            .into_routes()
            .into_iter()
            .fold(self, Self::add_route)
    }

    /// Adds one method.
    ///
    /// # Panics
    ///
    /// Its path is served already.
    #[must_use]
    pub fn add_route(mut self, route: Route) -> Self {
        let path = route.spec().path();
        let before = self.shared_mut().routes.insert(path, route);
        assert!(before.is_none(), "{path} is served twice");
        self
    }

    /// Serves `fallback` at all paths that belong to no method: plain HTTP routes, or another
    /// router.
    #[must_use]
    pub fn with_fallback<G>(self, fallback: G) -> Router<G> {
        Router {
            shared: self.shared,
            fallback,
        }
    }

    /// Whether the path belongs to a method.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.shared.routes.contains_key(path)
    }

    /// Refuses request messages of more than `bytes` bytes after decompression with
    /// `resource_exhausted`. Default: 16 MiB.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.shared_mut().settings.max_message_size = bytes;
        self
    }

    /// Gives a client this long to send the body of a request, counted from its head; a slower one
    /// is answered with `deadline_exceeded`. Default: 30 s.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.shared_mut().settings.read_timeout = timeout;
        self
    }

    /// Ends every call after this time at the latest, whatever its client allows. Default: as long
    /// as the client allows.
    #[must_use]
    pub fn max_timeout(mut self, timeout: Duration) -> Self {
        self.shared_mut().settings.max_timeout = Some(timeout);
        self
    }

    /// Compresses responses for clients that accept it. Default: never. Compressed *requests* are
    /// understood whenever the feature `gzip` is on.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.shared_mut().settings.compression = compression;
        self
    }

    /// Refuses POST requests without the header `connect-protocol-version`. Default: accepts them,
    /// so that `curl` needs no more than a content type.
    #[must_use]
    pub fn require_protocol_version(mut self, require: bool) -> Self {
        self.shared_mut().settings.require_protocol_version = require;
        self
    }

    fn shared_mut(&mut self) -> &mut Shared {
        Arc::make_mut(&mut self.shared)
    }
}

impl<F> fmt::Debug for Router<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut paths: Vec<_> = self.shared.routes.keys().collect();
        paths.sort_unstable();
        f.debug_struct("Router")
            .field("paths", &paths)
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl<B, F, FB> Service<http::Request<B>> for Router<F>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    F: Service<http::Request<B>, Response = http::Response<FB>, Error = Infallible>,
    FB: Into<Body>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<F::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.fallback.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if let Some(route) = self.shared.routes.get(request.uri().path()) {
            let (shared, route) = (Arc::clone(&self.shared), route.clone());
            let future = Box::pin(dispatch::respond(shared, route, request));
            return ResponseFuture {
                kind: Kind::Call { future },
            };
        }
        ResponseFuture {
            kind: Kind::Fallback {
                future: self.fallback.call(request),
            },
        }
    }
}

pin_project_lite::pin_project! {
    /// The response of a [`Router`] on its way. Dropping it drops the handler.
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjection]
    enum Kind<F> {
        Call { future: Pin<Box<dyn Future<Output = http::Response<Body>> + Send>> },
        Fallback { #[pin] future: F },
    }
}

impl<F, FB> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<FB>, Infallible>>,
    FB: Into<Body>,
{
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Call { future } => future.as_mut().poll(cx).map(Ok),
            KindProjection::Fallback { future } => {
                future.poll(cx).map_ok(|response| response.map(Into::into))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
