//! Requests to the manager, and the handle that sends them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::report::ReloadReport;
use super::trust::TrustError;
use crate::authority::Permit;
use crate::caller::Peer;
use crate::config::ConfigError;
use crate::model::{PluginName, Sha256};
use crate::plugin::{NotEnabled, Registrant};
use crate::record::NotWritten;

/// Limit for the requests that wait for the manager, which never waits for anything itself.
const REQUESTS: usize = 64;

/// A request to the manager. A reply that has no receiver any more is dropped.
pub(crate) enum Request {
    Reload(oneshot::Sender<Result<ReloadReport, Arc<ConfigError>>>),
    Trust(PluginName, oneshot::Sender<Result<Trusted, TrustError>>),
    Untrust(PluginName, oneshot::Sender<Result<(), TrustError>>),
    SetEnabled(
        PluginName,
        bool,
        oneshot::Sender<Result<(), SetEnabledError>>,
    ),
    /// An external plugin has sent its registration.
    Connect(Box<Registrant>, Arc<Peer>),
}

/// The state of a plugin after it was trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trusted {
    /// The SHA-256 of the executable.
    pub sha256: Sha256,
    /// The interpreter that a script is run by.
    pub interpreter: Option<String>,
}

/// Error of enabling or disabling a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SetEnabledError {
    #[error("there is no plugin {0}")]
    Unknown(PluginName),
    #[error("{0} is listed in `[access] modules` and cannot be disabled")]
    Listed(PluginName),
    #[error(transparent)]
    NotEnabled(#[from] NotEnabled),
    #[error(transparent)]
    NotRemembered(#[from] NotWritten),
}

/// Sends requests to the manager of a running daemon. Cloning is cheap.
///
/// Requests of callers of the socket take a permit. A reload needs none here: the program that runs the daemon also requests it on
/// SIGHUP.
#[derive(Debug, Clone)]
pub struct ManagerHandle {
    requests: mpsc::Sender<Request>,
    /// Number of reloads in progress.
    reloads: watch::Sender<usize>,
}

/// Counts a reload while it is waited for.
struct Reloading<'a>(&'a watch::Sender<usize>);

impl<'a> Reloading<'a> {
    fn begin(reloads: &'a watch::Sender<usize>) -> Self {
        reloads.send_modify(|n_reloads| *n_reloads += 1);
        Self(reloads)
    }
}

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n_reloads| *n_reloads -= 1);
    }
}

impl ManagerHandle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        let handle = Self {
            requests: sender,
            reloads: watch::Sender::new(0),
        };
        (handle, receiver)
    }

    /// Returns how many reloads are under way.
    pub(crate) fn reloads(&self) -> watch::Receiver<usize> {
        self.reloads.subscribe()
    }

    /// Reads the configuration and the plugin directories again, and returns when restarted plugins have registered or failed.
    /// `None` if the daemon has stopped.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if the configuration is absent, unreadable or invalid; the old one stays in force.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop a reload that has begun.
    pub async fn reload(&self) -> Option<Result<ReloadReport, Arc<ConfigError>>> {
        let _reloading = Reloading::begin(&self.reloads);
        self.request(Request::Reload).await
    }

    /// Pins the executable that a launched plugin has now, and starts it. `None` if the daemon has stopped.
    ///
    /// # Errors
    ///
    /// Returns [`TrustError`] if there is no such executable, the configuration decides, or the file cannot be read; nothing
    /// changes then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop an operation that has begun.
    pub(crate) async fn trust(
        &self,
        _permit: &Permit,
        name: PluginName,
    ) -> Option<Result<Trusted, TrustError>> {
        self.request(|reply| Request::Trust(name, reply)).await
    }

    /// Takes back the pin of a plugin. `None` if the daemon has stopped.
    ///
    /// # Errors
    ///
    /// Returns [`TrustError`] if the plugin has no pin, or the configuration pins it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop an operation that has begun.
    pub(crate) async fn untrust(
        &self,
        _permit: &Permit,
        name: PluginName,
    ) -> Option<Result<(), TrustError>> {
        self.request(|reply| Request::Untrust(name, reply)).await
    }

    /// Enables or disables a plugin.
    pub(crate) async fn set_enabled(
        &self,
        _permit: &Permit,
        name: PluginName,
        enabled: bool,
    ) -> Option<Result<(), SetEnabledError>> {
        self.request(|reply| Request::SetEnabled(name, enabled, reply))
            .await
    }

    /// Hands over an external plugin whose registration waits for its response.
    pub(crate) async fn connect(&self, registrant: Registrant, peer: Arc<Peer>) {
        // Without a manager the daemon has stopped: dropping the registrant closes its connection.
        let _ = self
            .requests
            .send(Request::Connect(Box::new(registrant), peer))
            .await;
    }

    async fn request<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, response) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        response.await.ok()
    }
}
