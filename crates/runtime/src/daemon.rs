//! The daemon as a whole: bound, running, stopped.

use std::future::Future;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use keyway_local::{Address, with_causes};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::activity::Activities;
use crate::api::{Budgets, Services};
use crate::authority::Authorizer;
use crate::config::{Config, ConfigError, Current, Settings};
use crate::launch::{Environment, LaunchError, Spawner, adopt_orphans};
use crate::lines::PeerLines;
use crate::manager::{Manager, ManagerHandle, ReadConfig};
use crate::plugin::{Host, Publish, Suspensions};
use crate::record::{Audit, Memory, StateLock, StateLockError, check_audit};
use crate::registry::{Discovery, Registry};
use crate::server::addresses::bind_all;
use crate::server::socket::{ListenError, Socket};
use crate::server::{Heartbeat, Server};
use crate::sys::descriptors::raise_descriptor_limit;

/// Limit for the stop of plugins before the rest of them is killed: the steps of the protocol, up to SIGKILL, take 6.5 s. The steps
/// after it take a second at most.
const STOP_LIMIT: Duration = Duration::from_secs(7);

/// The time that requests in progress at a stop have before their plugins stop as well.
const REQUEST_GRACE: Duration = Duration::from_millis(200);

/// Error of [`Daemon::bind`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address to listen at was given.
    #[error("there is no address to listen at")]
    NoAddress,
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Another daemon uses the state directory.
    #[error(transparent)]
    StateInUse(StateLockError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(ConfigError),
    /// The thread that writes the state cannot be started.
    #[error("the thread that writes the state cannot be started")]
    State(#[source] std::io::Error),
    /// The thread or process that starts plugins cannot be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// A daemon that listens: clients that connect wait until it [runs](Self::run).
///
/// Dropped without running, it closes its sockets and removes their paths.
pub struct Daemon {
    host: Arc<Host>,
    registry: Arc<Registry>,
    settings: Arc<Current>,
    sockets: Vec<Socket>,
    manager: Manager,
    handle: ManagerHandle,
    heartbeat: Option<Heartbeat>,
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
    /// Binds the sockets. No plugin is started yet. The soft limit of open files of this process is raised to the hard one.
    ///
    /// Must be called within a tokio runtime with time and I/O enabled; one thread is enough.
    ///
    /// # Errors
    ///
    /// Returns [`BindError`] if an address of [`Config::listen`] cannot be bound. For one of [`Config::listen_also`] that is
    /// logged.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        Self::bind_inherited(config, Vec::new())
    }

    /// Like [`bind`](Self::bind), with listening sockets that a service manager has bound and passed to this process. They take the
    /// place of [`Config::listen`], unless there are none, and are not removed at the end.
    ///
    /// # Errors
    ///
    /// Returns [`BindError`] as `bind` does, and if one of `listeners` is not a listening Unix socket with an address.
    pub fn bind_inherited(config: Config, listeners: Vec<UnixListener>) -> Result<Self, BindError> {
        raise_descriptor_limit();
        let state_lock = lock_state(&config.state_dir)?;
        let sockets = bind_all(&config, listeners)?;
        if sockets.is_empty() {
            return Err(BindError::NoAddress);
        }
        if let Some(audit) = &config.audit {
            check_audit(audit).map_err(BindError::Audit)?;
        }
        let (handle, requests) = ManagerHandle::new();
        let registry = Arc::new(Registry::new());
        registry.set_discovery(Discovery::UnderWay);
        let memory = Memory::open(&config.state_dir).map_err(BindError::State)?;
        let host = Arc::new(host(&config, memory, Arc::clone(&registry))?);
        let settings = Settings::new(config.clone(), &host.memory.state(), 1);
        let settings = Arc::new(Current::new(settings));
        let read_config: ReadConfig = Arc::new(move || Ok(config.clone()));
        let manager = Manager::new(
            Arc::clone(&host),
            Arc::clone(&registry),
            Arc::clone(&settings),
            read_config,
            requests,
        );
        Ok(Self {
            host,
            registry,
            settings,
            sockets,
            manager,
            handle,
            heartbeat: None,
            state_lock,
        })
    }

    /// Sets how the configuration is read again by a reload. Without it, a reload only scans for changed plugins.
    #[must_use]
    pub fn on_reload(
        mut self,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        self.manager.set_read_config(Arc::new(read));
        self
    }

    /// Returns the addresses at which it listens.
    pub fn addresses(&self) -> Vec<&Address> {
        self.sockets.iter().map(Socket::address).collect()
    }

    /// Returns a handle that reloads the running daemon.
    pub fn handle(&self) -> ManagerHandle {
        self.handle.clone()
    }

    /// Returns a receiver of the daemon's activity.
    pub fn activities(&self) -> Activities {
        Activities::new(Arc::clone(&self.registry), self.handle.reloads())
    }

    /// Calls `beat` once when the daemon begins to accept connections, and then at every `interval`, in the task that accepts them:
    /// a service manager that misses it knows that the daemon hangs. `beat` must not block.
    ///
    /// # Panics
    ///
    /// [`run`](Self::run) panics if `interval` is zero.
    #[must_use]
    pub fn with_heartbeat(
        mut self,
        interval: Duration,
        beat: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.heartbeat = Some(Heartbeat {
            interval,
            beat: Box::new(beat),
        });
        self
    }

    /// Starts the plugins and serves until `shutdown` resolves; then stops everything in order.
    ///
    /// Requests are served at once; a query waits for a plugin that is still starting and could hold a match (see the crate's
    /// documentation). The stop takes as long as the slowest plugin, and a bounded time in any case.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, connections are closed and plugin processes are killed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            host,
            registry,
            settings,
            sockets,
            mut manager,
            handle,
            heartbeat,
            // Held until everything has stopped.
            state_lock: _state_lock,
            ..
        } = self;
        host.audit.start();
        let (stop, stopped) = oneshot::channel::<()>();
        let (stop_sender, mut stop_requests) = mpsc::channel(1);
        let authorizer = Arc::new(Authorizer::new(
            Arc::clone(&registry),
            Arc::clone(&settings),
        ));
        let services = Services {
            registry: Arc::clone(&registry),
            settings: Arc::clone(&settings),
            authorizer: Arc::clone(&authorizer),
            audit: Arc::clone(&host.audit),
            manager: handle.clone(),
            budget: Budgets::default(),
            started_at: SystemTime::now(),
            addresses: sockets
                .iter()
                .map(|socket| socket.address().to_string())
                .collect(),
            stop: stop_sender.clone(),
        };
        let suspensions = Arc::clone(&host.suspensions);
        let orphans = adopt(&host, settings.load().config.adopt_orphans);
        let audit = Arc::clone(&host.audit);
        let server = Server::new(
            authorizer,
            settings,
            handle,
            audit,
            services.into_router(),
            stop_sender,
        )
        .with_heartbeat(heartbeat);
        let mut tasks = JoinSet::new();
        let (serving, served) = oneshot::channel::<()>();
        tasks.spawn(async move {
            // Without a sender the daemon is gone, which is a stop as well.
            server.serve(sockets, async { drop(stopped.await) }).await;
            drop(serving);
        });
        let shutdown = async {
            tokio::select! {
                () = shutdown => {}
                _ = stop_requests.recv() => {}
            }
            tracing::info!("stopping");
            drop(stop);
            // Most requests end in this time. The calls of others have that of their plugins.
            let _ = timeout(REQUEST_GRACE, served).await;
            registry.set_discovery(Discovery::Stopping);
            host.begin_to_stop();
        };
        let (stopping, began) = oneshot::channel();
        let work = async {
            let mut shutdown = pin!(async {
                shutdown.await;
                drop(stopping)
            });
            let has_started = tokio::select! {
                () = start(&mut manager, &registry) => true,
                () = &mut shutdown => false,
            };
            if has_started {
                manager.run(shutdown).await;
            }
            while tasks.join_next().await.is_some() {}
        };
        tokio::select! {
            () = stop_within(work, began, STOP_LIMIT) => {}
            () = orphans => {}
            never = suspensions.watch() => match never {},
        }
        // Each is bounded.
        tokio::join!(
            host.spawner.finish(),
            host.audit.stop(),
            host.memory.close()
        );
    }
}

/// Starts the plugins. The daemon serves meanwhile: requests that depend on the plugins wait until they are known.
async fn start(manager: &mut Manager, registry: &Registry) {
    manager.start().await;
    if registry.snapshot().is_empty() {
        tracing::warn!("no plugin found: nothing can be resolved until one is added or connects");
    }
}

/// Adopts and reaps processes that plugins leave behind, if that is configured; never resolves.
async fn adopt(host: &Host, is_wanted: bool) {
    if is_wanted {
        let Err(error) = adopt_orphans(host.spawner.clone()).await;
        tracing::error!(%error, "processes that plugins leave behind are not adopted");
    }
    std::future::pending().await
}

/// Builds the parts that the tasks of the plugins share.
fn host(config: &Config, memory: Memory, registry: Arc<Registry>) -> Result<Host, LaunchError> {
    let publisher: Arc<dyn Publish> = registry;
    Ok(Host {
        spawner: Spawner::start()?,
        environment: Environment::new(config.environment.iter().cloned()),
        memory: Arc::new(memory),
        audit: Arc::new(Audit::new(config.audit.clone())),
        restart: config.restart,
        keep_alive: config.keep_alive,
        removal_grace: config.removal_grace,
        version: config.version.clone(),
        publisher,
        suspensions: Arc::new(Suspensions::new()),
        stopping: AtomicBool::new(false),
        registration_lines: PeerLines::default(),
        refusal_lines: PeerLines::default(),
        departure_lines: PeerLines::default(),
    })
}

/// Locks the state directory. One that cannot be written is logged, and the daemon runs without a lock.
fn lock_state(directory: &Path) -> Result<Option<StateLock>, BindError> {
    match StateLock::acquire(directory) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ StateLockError::Locked { .. }) => Err(BindError::StateInUse(error)),
        Err(error) => {
            tracing::error!(error = %with_causes(&error), "state directory not locked: the daemon runs without a lock");
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
        () = limit => tracing::error!("stop timed out: the remaining plugins are killed"),
    }
}

#[cfg(test)]
mod tests;
