//! [`serve_connection`]: one byte stream, from its first byte to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::clock::Clock;
use super::http1::Http1;
use super::state::{Place, Places, Shared};
use super::stop::Stop;
use super::{Admission, HttpService, Limits, ServeError};
use crate::wire::Reader;

/// Serves one connection until the peer closes it or leaves it idle, or until `shutdown` resolves
/// and the request in progress is done. Before the first request the connection then has 100 ms for it.
///
/// A connection whose protocol was [switched](crate::OnUpgrade) lasts as long as the future that
/// took it over.
///
/// # Errors
///
/// Returns a [`ServeError`] if the peer violated HTTP, exceeded a timeout or went away before it
/// had a response, or if the byte stream or the body of a response failed.
///
/// # Cancel safety
///
/// Dropping the future drops the byte stream and the handler that works on a request.
pub async fn serve_connection<I, S>(
    io: I,
    service: S,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    let places = Places::new();
    let connection = Connection {
        io,
        service,
        admission: Admission::Regular,
        shared: Shared::new(&places),
        place: None,
    };
    connection.serve(limits, shutdown).await
}

/// A connection that was accepted.
pub(super) struct Connection<I, S> {
    pub(super) io: I,
    pub(super) service: S,
    pub(super) admission: Admission,
    pub(super) shared: Arc<Shared>,
    /// The place that it takes, if places are counted.
    pub(super) place: Option<Place>,
}

impl<I, S> Connection<I, S>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
{
    pub(super) async fn serve(
        self,
        limits: &Limits,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let mut shutdown = pin!(shutdown);
        #[allow(unused_mut, reason = "HTTP/2 is a feature")]
        let mut connection = Http1 {
            io: self.io,
            reader: Reader::new(),
            service: self.service,
            limits,
            clock: Clock::new(self.shared),
            stop: Stop::new(shutdown.as_mut()),
            is_single: self.admission == Admission::Reserved,
            is_half_closed: false,
        };
        #[cfg(feature = "h2c")]
        if connection.begins_with_preface().await? {
            return super::h2c::serve(connection).await;
        }
        let switched = connection.serve().await?;
        // The limits of the other protocol apply from here on.
        drop(self.place);
        if let Some((then, io)) = switched {
            then(io).await;
        }
        Ok(())
    }
}
