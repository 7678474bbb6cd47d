//! [`OnUpgrade`]: the function that takes over a byte stream that switches protocols.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::Upgraded;

/// Takes the byte stream over behind a response with the status 101.
///
/// The service puts it into the extensions of the response. When the response has left, the
/// connection gives its place back (see [`Limits::max_connections`](crate::Limits::max_connections))
/// and its task runs the future that the function returns, under the limits of the other protocol.
///
/// ```
/// use http::{Response, StatusCode};
/// use keyway_http::{OnUpgrade, Upgraded};
/// use tokio::io::AsyncWriteExt;
///
/// async fn echo(mut io: Upgraded) {
///     let (mut reader, mut writer) = tokio::io::split(&mut io);
///     let _ = tokio::io::copy(&mut reader, &mut writer).await;
/// }
///
/// let mut response = Response::new(());
/// *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
/// response.headers_mut().insert("upgrade", http::HeaderValue::from_static("echo"));
/// response.extensions_mut().insert(OnUpgrade::new(echo));
/// ```
#[derive(Clone)]
pub struct OnUpgrade(Arc<Mutex<Option<Then>>>);

pub(super) type Then = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl OnUpgrade {
    /// Runs the future of `then` on the byte stream. It is called once at most.
    pub fn new<F, R>(then: F) -> Self
    where
        F: FnOnce(Upgraded) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let then: Then = Box::new(move |io| Box::pin(then(io)));
        Self(Arc::new(Mutex::new(Some(then))))
    }

    /// Returns the function; `None` if a clone of this value was used already.
    pub(super) fn take(&self) -> Option<Then> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUpgrade").finish_non_exhaustive()
    }
}
