//! The [`Client`] below every generated client, and its [`Config`].

mod call;
mod config;
mod failure;
mod transport;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use prost::{Message, Name};

pub use self::call::ResponseTooLarge;
pub use self::config::Config;
pub use self::transport::Transport;
pub use crate::memory::ReserveMemory;
use crate::{Error, MethodSpec, Request, Response};

/// Calls methods over a transport, any `tower::Service` that carries HTTP requests.
///
/// Generated clients wrap this type, which can be used without them:
///
/// ```
/// use keyway_rpc::client::{Client, Transport};
/// use keyway_rpc::{Error, MethodSpec};
/// use prost_types::Timestamp;
///
/// static ECHO: MethodSpec = MethodSpec::unary("/demo.Clock/Echo");
///
/// async fn echo<S: Transport>(transport: S) -> Result<Timestamp, Error> {
///     let client = Client::new(transport);
///     let now = Timestamp { seconds: 1, nanos: 2 };
///     Ok(client.unary(&ECHO, now.into()).await?.into_message())
/// }
/// ```
#[derive(Clone)]
pub struct Client<S> {
    transport: S,
    config: Arc<Config>,
}

impl<S> Client<S> {
    /// Returns a client with the default [`Config`].
    #[must_use]
    pub fn new(transport: S) -> Self {
        Self::with_config(transport, Config::default())
    }

    /// Returns a client with this configuration.
    #[must_use]
    pub fn with_config(transport: S, config: impl Into<Arc<Config>>) -> Self {
        Self {
            transport,
            config: config.into(),
        }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the transport.
    #[must_use]
    pub fn transport(&self) -> &S {
        &self.transport
    }
}

impl<S: Transport> Client<S> {
    /// Calls a unary method: one HTTP request, never repeated by this crate. Its extensions are those
    /// of `request` and the `&'static` [`MethodSpec`]. The future does not borrow the client.
    ///
    /// # Errors
    ///
    /// Returns the [`Error`] of the server, or one of `deadline_exceeded` if the deadline of the
    /// request or the client's [default](Config::timeout) passed, `unavailable` if the transport
    /// failed (its error is the [source](std::error::Error::source)), `internal` or `unknown` if
    /// the response is not one of the protocol, `resource_exhausted` if it is larger than the client's
    /// [limit](Config::max_message_size).
    ///
    /// A peer that resets a stream of HTTP/2 gives a reason. With the feature `http2`,
    /// `REFUSED_STREAM` is `unavailable`, `CANCEL` is `canceled` (or `deadline_exceeded`, if the deadline has
    /// passed), `ENHANCE_YOUR_CALM` is `resource_exhausted`, `INADEQUATE_SECURITY` is
    /// `permission_denied`, and every other reason is `internal`; without it all are `unavailable`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call and drops the transport's future. The server may have
    /// run the call or not.
    pub fn unary<In, Out>(
        &self,
        spec: &'static MethodSpec,
        request: Request<In>,
    ) -> impl Future<Output = Result<Response<Out>, Error>> + Send + use<In, Out, S>
    where
        In: Message + Name + 'static,
        Out: Message + Name + Default + 'static,
    {
        call::unary(
            self.transport.clone(),
            Arc::clone(&self.config),
            spec,
            request,
        )
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
