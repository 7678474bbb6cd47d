//! [`Router`]: the service that an HTTP server mounts.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::dispatch;
use super::methods::{Layered, Methods, Routed};
use super::not_found::NotFound;
use super::route::{IntoRoutes, Route};
use super::settings::Settings;
use crate::{Body, BoxError, Compression, ReserveMemory};

/// Serves methods over HTTP: a `tower::Service` for requests with any body.
///
/// A router is made once and cloned for each connection; a clone is a few pointers. Requests to paths
/// that belong to no method go to the fallback, which responds 404 unless
/// [another](Router::with_fallback) was set.
///
/// The extensions of a request hold the `&'static` [`MethodSpec`](crate::MethodSpec) of its method,
/// for [layers](Router::layer) and handlers. Dropping the future of a request, as hyper does when
/// the client goes away, drops the handler.
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

/// The state that all clones of a router share.
#[derive(Clone, Default)]
struct Shared {
    routes: HashMap<&'static str, Route>,
    settings: Settings,
    layered: Option<Layered>,
}

impl Router {
    /// Returns a router without a route.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
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
    /// If one of its paths is served already.
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
    /// If its path is served already.
    #[must_use]
    pub fn add_route(mut self, route: Route) -> Self {
        let path = route.spec().path();
        let before = self.shared_mut().routes.insert(path, route);
        assert!(before.is_none(), "{path} is served twice");
        self
    }

    /// Wraps all methods of this router, those that are added later too, in a layer. The layer runs
    /// after routing: the extensions of its requests hold the `&'static`
    /// [`MethodSpec`](crate::MethodSpec), and the fallback is outside of it. Layers that are added
    /// later run earlier. A layer that can fail goes inside of a
    /// [`RecoverErrorLayer`](crate::RecoverErrorLayer).
    ///
    /// One service is made by the layer and cloned for each request, so that all methods share its limits.
    /// Requests lose their method if a layer removes their extensions, and are then `internal` errors.
    ///
    /// ```
    /// use keyway_rpc::{Body, MethodSpec, Router};
    /// use tower::util::MapRequestLayer;
    ///
    /// let router = Router::new().layer(MapRequestLayer::new(|request: http::Request<Body>| {
    ///     let method: Option<&&MethodSpec> = request.extensions().get();
    ///     assert!(method.is_some_and(|method| method.service() == "demo.Clock"));
    ///     request
    /// }));
    /// # drop(router);
    /// ```
    #[must_use]
    pub fn layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Methods>,
        L::Service: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<http::Request<Body>>>::Future: Send,
        B: Into<Body> + 'static,
    {
        let shared = self.shared_mut();
        let service = layer.layer(Methods::new(shared.layered.take()));
        shared.layered = Some(Methods::erase(service));
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

    /// Returns `true` if the path belongs to a method.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.shared.routes.contains_key(path)
    }

    /// Refuses requests of more than `bytes` bytes after decompression with `resource_exhausted`.
    /// Methods with a [limit of their own](crate::MethodSpec::with_max_request_size) keep it.
    /// Default: 64 KiB.
    ///
    /// A request that declares a longer body is refused before any of the body is read, and another
    /// one at the first byte beyond the limit. An HTTP server that closes the connection of such a
    /// request should continue to read for a moment (RFC 9112 section 9.6), as `keyway-http` does: a
    /// client that is still sending may miss the response otherwise.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.shared_mut().settings.max_message_size = bytes;
        self
    }

    /// Counts requests of more than 64 KiB against a budget, from before they are read until their
    /// handlers have ended. A request that waits for the budget is bounded as a slow one is, by
    /// [`read_timeout`](Self::read_timeout). Default: not counted.
    #[must_use]
    pub fn request_memory(mut self, budget: impl ReserveMemory) -> Self {
        self.shared_mut().settings.request_memory = Some(Arc::new(budget));
        self
    }

    /// Limits the time in which a client sends the body of a request, counted from its head; a
    /// slower one gets `deadline_exceeded`. Default: 30 s.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.shared_mut().settings.read_timeout = timeout;
        self
    }

    /// Limits every call, whatever its client allows. Default: as long as the client allows.
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
        let kind = match self.shared.routes.get(request.uri().path()) {
            Some(route) => Kind::Call {
                future: self.shared.call(route.clone(), request),
            },
            None => Kind::Fallback {
                future: self.fallback.call(request),
            },
        };
        ResponseFuture { kind }
    }
}

impl Shared {
    fn call<B>(
        self: &Arc<Self>,
        route: Route,
        mut request: http::Request<B>,
    ) -> Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let extensions = request.extensions_mut();
        extensions.insert(route.spec());
        if let Some(layered) = &self.layered {
            let settings = self.settings.clone();
            extensions.insert(Routed { settings, route });
            return layered.call(request.map(Body::new));
        }
        let shared = Arc::clone(self);
        Box::pin(async move { dispatch::respond(&shared.settings, &route, request).await })
    }
}

pin_project_lite::pin_project! {
    /// The future of a [`Router`]'s response. Dropping it drops the handler.
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
