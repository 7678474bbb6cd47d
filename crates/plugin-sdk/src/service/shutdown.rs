//! `PluginService.Shutdown`, which the daemon calls before it closes the connection.

use keyway_proto::plugins::v1::{PluginService, ShutdownRequest, ShutdownResponse};
use keyway_rpc::{Error, Request, Response};
use tokio::sync::watch;

/// Serves `Shutdown`.
#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<bool>);

/// Waits for a call of `Shutdown`.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownRequested(watch::Receiver<bool>);

pub(crate) fn shutdown_channel() -> (Shutdown, ShutdownRequested) {
    let (sender, receiver) = watch::channel(false);
    (Shutdown(sender), ShutdownRequested(receiver))
}

impl PluginService for Shutdown {
    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Error> {
        self.0.send_replace(true);
        Ok(Response::new(ShutdownResponse {}))
    }
}

impl ShutdownRequested {
    /// Waits for the call; forever if the service was dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a call that has arrived stays visible.
    pub(crate) async fn requested(&self) {
        if self
            .0
            .clone()
            .wait_for(|requested| *requested)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}
