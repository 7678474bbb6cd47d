//! The daemon's sockets: admission of connections, and the service at each path.

pub(crate) mod addresses;
mod client;
pub(crate) mod docker;
mod files;
mod hijack;
mod listener;
mod places;
mod routes;
pub(crate) mod socket;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keyway_http::Limits;
use keyway_local::{KnownUids, with_causes};
use keyway_rpc::Router;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, sleep};

use crate::authority::Authorizer;
use crate::config::Current;
use crate::manager::ManagerHandle;
use crate::record::Audit;
use crate::sys::descriptors::{descriptor_limit, open_descriptors};
use addresses::has_other_users;
use client::ClientStream;
use files::SocketFiles;
use hijack::Hijack;
use listener::Listener;
use places::Places;
use routes::{ClientService, Fallback};
use socket::Socket;

/// Limit for the wait of the connections in the queues of the sockets for a place when the daemon stops.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the daemon's sockets.
pub(crate) struct Server {
    authorizer: Arc<Authorizer>,
    settings: Arc<Current>,
    router: Router<Fallback>,
    heartbeat: Option<Heartbeat>,
    /// Stops the daemon.
    stop: mpsc::Sender<()>,
}

/// A callback at an interval for as long as the task runs that accepts connections.
pub(crate) struct Heartbeat {
    pub(crate) interval: Duration,
    pub(crate) beat: Box<dyn Fn() + Send + Sync>,
}

impl Heartbeat {
    async fn run(&self) -> Infallible {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            (self.beat)();
        }
    }
}

impl Server {
    pub(crate) fn new(
        authorizer: Arc<Authorizer>,
        settings: Arc<Current>,
        manager: ManagerHandle,
        audit: Arc<Audit>,
        router: Router,
        stop: mpsc::Sender<()>,
    ) -> Self {
        let hijack = Hijack::new(
            Arc::clone(&authorizer),
            Arc::clone(&settings),
            manager,
            audit,
        );
        let router = router.with_fallback(Fallback {
            hijack: Arc::new(hijack),
        });
        Self {
            authorizer,
            settings,
            router,
            heartbeat: None,
            stop,
        }
    }

    pub(crate) fn with_heartbeat(mut self, heartbeat: Option<Heartbeat>) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Accepts connections at `sockets` until `stop` resolves, and then those in their queues, while clients that connect are refused;
    /// then removes the paths of the sockets, and lets requests in progress finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops all connections.
    pub(crate) async fn serve(self, sockets: Vec<Socket>, stop: impl Future<Output = ()>) {
        let mut files = SocketFiles::new(&sockets);
        let (replace, replacements) = mpsc::channel(1);
        let authorizer = Arc::clone(&self.authorizer);
        let (stopping, stopped) = oneshot::channel();
        let settings = Arc::clone(&self.settings);
        let listener = Listener::new(sockets, stopped, replacements, authorizer, settings);
        let stop = async {
            stop.await;
            drop(stopping);
            sleep(QUEUE_TIMEOUT).await;
        };
        let make_service = |client: &ClientStream, admission| {
            ClientService::new(
                self.router.clone(),
                Arc::clone(client.peer()),
                admission,
                Arc::clone(&self.settings),
            )
        };
        let places = Places::within(descriptor_limit(), open_descriptors());
        let limits = Limits::default()
            .half_closed_clients(true)
            .max_connections(places.regular)
            .reserved_connections(places.reserved);
        let serving = keyway_http::serve(listener, make_service, limits, stop);
        tokio::select! {
            served = serving => tracing::debug!(?served, "sockets closed"),
            never = self.keep_files(&mut files, &replace) => match never {},
            never = self.beat() => match never {},
        }
    }

    async fn beat(&self) -> Infallible {
        match &self.heartbeat {
            Some(heartbeat) => heartbeat.run().await,
            None => std::future::pending().await,
        }
    }

    /// Lets the modes of the sockets follow `allow_uids`, and makes files again that were removed. If that is not possible, no
    /// client finds the daemon any more, and it stops.
    async fn keep_files(
        &self,
        files: &mut SocketFiles,
        replace: &mpsc::Sender<(usize, Socket)>,
    ) -> Infallible {
        let known_uids = KnownUids::read();
        let mut changes = self.settings.subscribe();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = files.changed() => {
                    // The daemon that stops has removed the files.
                    if replace.is_closed() {
                        return std::future::pending().await;
                    }
                    match files.restore().await {
                        // A change of modes is an event, too, and must not lead to the next one.
                        Ok(restored) if restored.is_empty() => continue,
                        Ok(restored) => {
                            for socket in restored {
                                // The listener is gone if the daemon is stopping, and the socket then removes its file.
                                let _ = replace.send(socket).await;
                            }
                        }
                        Err(error) => {
                            tracing::error!(error = %with_causes(&error), "a socket file was removed and cannot be made again: the daemon stops");
                            // A stop has been requested already.
                            let _ = self.stop.try_send(());
                            return std::future::pending().await;
                        }
                    }
                }
            }
            files.set_reachable(has_other_users(&self.settings.load().config, &known_uids));
        }
    }
}
