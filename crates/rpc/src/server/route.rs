//! [`Route`]: a method with its handler.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use prost::{Message, Name};

use crate::{Codec, Error, MethodSpec, Request, Response};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A handler without the types of its messages. The protocol decides which codec the bytes are in.
type ErasedUnary =
    dyn Fn(Codec, Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, Error>> + Send + Sync;

/// A method together with the function that serves it.
///
/// Generated servers contain their routes. This is one without generated code:
///
/// ```
/// use keyway_rpc::{Error, MethodSpec, Request, Response, Route, Router};
/// use prost_types::Timestamp;
///
/// static ECHO: MethodSpec = MethodSpec::unary("/demo.Clock/Echo");
///
/// let echo = Route::unary(&ECHO, |request: Request<Timestamp>| async move {
///     Ok::<_, Error>(Response::new(request.into_message()))
/// });
/// let router = Router::new().add_route(echo);
/// assert!(router.contains("/demo.Clock/Echo"));
/// ```
#[derive(Clone)]
pub struct Route {
    pub(super) spec: &'static MethodSpec,
    pub(super) handler: Handler,
}

/// One variant for each shape of method.
#[derive(Clone)]
pub(super) enum Handler {
    Unary(Arc<ErasedUnary>),
}

impl Route {
    /// Returns a unary method. `handler` is called once for each request; the future that it returns
    /// is dropped when the deadline passes or the client goes away.
    pub fn unary<In, Out, H, F>(spec: &'static MethodSpec, handler: H) -> Self
    where
        In: Message + Name + Default + 'static,
        Out: Message + Name + 'static,
        H: Fn(Request<In>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Out>, Error>> + Send,
    {
        let handler = move |codec: Codec, request: Request<Bytes>| {
            let handler = handler.clone();
            let call = async move {
                let request = request.try_map(|bytes| codec.decode(spec, bytes));
                let request =
                    request.map_err(|error| Error::invalid_argument(error.to_string()))?;
                let response = handler(request).await?;
                let bytes = codec.encode(spec, response.message());
                let bytes = bytes.map_err(|error| Error::internal(error.to_string()))?;
                Ok(response.map(|_| bytes))
            };
            Box::pin(call) as BoxFuture<_>
        };
        Self {
            spec,
            handler: Handler::Unary(Arc::new(handler)),
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn spec(&self) -> &'static MethodSpec {
        self.spec
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// A service that can be added to a [`Router`](crate::Router): every generated server is one.
pub trait IntoRoutes {
    /// Returns one route for each method of the service.
    fn into_routes(self) -> Vec<Route>;
}
