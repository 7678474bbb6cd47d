//! The daemon as a whole: bound, running, stopped.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::Address;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::engine::Engine;
use crate::launch::{LaunchError, Spawner};
use crate::manager::{Manager, ManagerHandle, ReadConfig};
use crate::plugin::STOP_BOUND;
use crate::server::Server;
use crate::server::addresses::bind_all;
use crate::server::socket::{ListenError, Socket};
use crate::services::Services;
use crate::state::{Memory, StateLock, StateLockError};

/// Why a daemon could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address to listen at was given.
    #[error("there is no address to listen at")]
    NoAddress,
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Another daemon uses the state directory.
    #[error(transparent)]
    StateInUse(StateLockError),
    /// The thread that writes the state cannot be started.
    #[error("the thread that writes the state cannot be started: {0}")]
    State(std::io::Error),
    /// The thread or process that looks after plugins cannot be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// A daemon that listens: clients that connect wait until it [runs](Self::run).
///
/// Dropped without running, it closes its sockets and removes their paths.
pub struct Daemon {
    engine: Arc<Engine>,
    sockets: Vec<Socket>,
    manager: Manager,
    handle: ManagerHandle,
    state_lock: Option<StateLock>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl Daemon {
    /// Binds the sockets. No plugin is started yet.
    ///
    /// Must be called within a tokio runtime with time and I/O enabled; one thread is enough.
    ///
    /// # Errors
    ///
    /// Returns [`BindError`] if an address of [`Config::listen`] cannot be had. For one of [`Config::listen_also`] there is a
    /// line in the log.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let state_lock = lock_state(&config.state_dir)?;
        let sockets = bind_all(&config)?;
        if sockets.is_empty() {
            return Err(BindError::NoAddress);
        }
        let (handle, requests) = ManagerHandle::new();
        let memory = Memory::open(&config.state_dir).map_err(BindError::State)?;
        let engine = Engine::new(config.clone(), memory, Spawner::start()?);
        let read_config: ReadConfig = Box::new(move || Ok(config.clone()));
        let manager = Manager::new(Arc::clone(&engine), read_config, requests);
        Ok(Self {
            engine,
            sockets,
            manager,
            handle,
            state_lock,
        })
    }

    /// Sets how the configuration is read again by a reload. Without it, a reload only looks for changed plugins.
    #[must_use]
    pub fn on_reload(
        mut self,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        self.manager.set_read_config(Box::new(read));
        self
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<&Address> {
        self.sockets.iter().map(Socket::address).collect()
    }

    /// For asking it to reload while it runs.
    pub fn handle(&self) -> ManagerHandle {
        self.handle.clone()
    }

    /// Starts the plugins and serves until `shutdown` resolves; then stops everything in order.
    ///
    /// Requests are answered at once; what a plugin that is still starting could know is waited for (see the crate's
    /// documentation). The stop takes as long as the slowest plugin, and a bounded time in any case.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, connections are closed and plugin processes are killed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            engine,
            sockets,
            mut manager,
            handle,
            // Held until everything has stopped.
            state_lock: _state_lock,
            ..
        } = self;
        manager.start();
        for name in &engine.config().access_modules {
            if !engine.registry.snapshot().contains_key(name) {
                tracing::warn!(
                    "the access-control module {name} is in no plugin directory: no secret is given out until somebody starts it"
                );
            }
        }
        if engine.registry.snapshot().is_empty() {
            tracing::warn!(
                "there is no plugin: nothing can be resolved until one is added or connects"
            );
        }
        let (stop, stopped) = watch::channel(false);
        let router = Services::new(Arc::clone(&engine), handle).into_router();
        let server = Server::new(Arc::clone(&engine), router);
        let mut servers = JoinSet::new();
        for socket in sockets {
            servers.spawn(Arc::clone(&server).serve(socket, stopped.clone()));
        }
        let shutdown = async {
            shutdown.await;
            tracing::info!("stopping");
            engine.begin_to_stop();
            stop.send_replace(true);
        };
        let (stopping, began) = oneshot::channel();
        let work = async {
            manager
                .run(async {
                    shutdown.await;
                    drop(stopping)
                })
                .await;
            while servers.join_next().await.is_some() {}
        };
        stop_within(work, began, STOP_BOUND).await;
        engine.spawner.finish().await;
    }
}

/// Locks the state directory. One that cannot be written is logged, and the daemon runs without a lock.
fn lock_state(directory: &Path) -> Result<Option<StateLock>, BindError> {
    match StateLock::acquire(directory) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ StateLockError::Locked { .. }) => Err(BindError::StateInUse(error)),
        Err(error) => {
            tracing::error!(%error, "the daemon will not remember anything after a restart");
            Ok(None)
        }
    }
}

/// Runs `work`, which is dropped when it is not done `limit` after `began` was dropped.
async fn stop_within(
    work: impl Future<Output = ()>,
    began: oneshot::Receiver<()>,
    limit: Duration,
) {
    let limit = async {
        // The sender is never used, so an error is the signal.
        let _ = began.await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        () = work => {}
        () = limit => tracing::error!("not everything stopped in time: what is left is killed"),
    }
}
