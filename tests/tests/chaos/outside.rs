//! The external plugin, which runs in the test: it connects, leaves, breaks and returns.

use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use keyway_tests::Behaviour;
use keyway_tests::plugin::{Plugin as Connection, connect, connect_scripted, hijack};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::control::Control;
use crate::model::Effect;
use crate::random::Random;
use crate::world::Plugin;

/// Limit for the daemon to upgrade, register or close a connection.
const LIMIT: Duration = Duration::from_secs(120);

/// The faults of external processes.
#[derive(Clone, Copy, Debug)]
enum OutsideFault {
    /// The plugin leaves in order and returns.
    Leave,
    /// The plugin's connection breaks, and it returns.
    Break,
    /// A connection is upgraded and stays silent.
    Silent,
    /// A connection is upgraded and carries bytes that are not frames.
    Garbage,
    /// A plugin registers with the name of a launched one.
    Impostor,
}

const ALL: [OutsideFault; 5] = [
    OutsideFault::Leave,
    OutsideFault::Break,
    OutsideFault::Silent,
    OutsideFault::Garbage,
    OutsideFault::Impostor,
];

/// The connected plugin and its faults, in an order that the seed decides.
#[derive(Debug)]
pub(crate) struct OutsideLane {
    control: Control,
    random: Random,
    deck: Vec<OutsideFault>,
    connected: Option<Connected>,
}

#[derive(Debug)]
struct Connected {
    plugin: Connection,
    /// Another handle of the connection.
    socket: StdStream,
}

impl OutsideLane {
    /// Connects the plugin.
    pub(crate) async fn connect(control: &Control, seed: u64) -> Self {
        let mut lane = Self {
            control: control.clone(),
            random: Random::of(seed, "outside"),
            deck: Vec::new(),
            connected: None,
        };
        lane.return_to_daemon().await;
        lane
    }

    /// Injects the next faults, one after the other.
    pub(crate) async fn play(mut self, n_faults: usize) -> Self {
        for _ in 0..n_faults {
            let Some(fault) = self.random.deal(&mut self.deck, &ALL) else {
                continue;
            };
            let time = Duration::from_millis(100 + self.random.below(400) as u64);
            let what = format!("outside: {fault:?}");
            let effect = match fault {
                OutsideFault::Leave | OutsideFault::Break => Effect::Fails(Plugin::Outside),
                _ => Effect::None,
            };
            let model = std::sync::Arc::clone(&self.control.model);
            let active = model.begin(what.clone(), effect);
            self.inject(fault, time).await;
            let control = self.control.clone();
            control.wait_until_healthy(Plugin::Outside, &what).await;
            active.end();
        }
        self
    }

    async fn inject(&mut self, fault: OutsideFault, time: Duration) {
        match fault {
            OutsideFault::Leave | OutsideFault::Break => {
                self.leave(matches!(fault, OutsideFault::Break)).await;
                sleep(time).await;
                self.return_to_daemon().await;
            }
            OutsideFault::Silent => {
                let socket = upgrade(&self.control).await;
                sleep(time).await;
                drop(socket);
            }
            OutsideFault::Garbage => {
                if let Some(mut socket) = upgrade(&self.control).await {
                    // The daemon closes the connection, before or after all was written.
                    let _ = socket.write_all(&[0xff; 4096]).await;
                    sleep(time).await;
                }
            }
            OutsideFault::Impostor => {
                if let Some(socket) = upgrade(&self.control).await {
                    let registered = connect(Plugin::Top.name(), Behaviour::Good, socket);
                    if let Ok(Ok(_)) = timeout(LIMIT, registered).await {
                        let what = "an external plugin took the name of a launched one";
                        self.control.model.violation(what.into());
                    }
                }
            }
        }
    }

    async fn leave(&mut self, is_broken: bool) {
        let Some(Connected { plugin, socket }) = self.connected.take() else {
            return;
        };
        if is_broken {
            // The daemon may have closed it.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(socket);
        if timeout(LIMIT, plugin.leave()).await.is_err() {
            let what = format!("the external plugin did not leave within {LIMIT:?}");
            self.control.model.violation(what);
        }
    }

    async fn return_to_daemon(&mut self) {
        let control = self.control.clone();
        control
            .wait_until("the external plugin's registration", async || {
                self.connected = try_connect(&control).await;
                self.connected.is_some()
            })
            .await;
    }
}

/// An upgraded connection, if the daemon permits it.
async fn upgrade(control: &Control) -> Option<UnixStream> {
    timeout(LIMIT, hijack(&control.address())).await.ok()?.ok()
}

async fn try_connect(control: &Control) -> Option<Connected> {
    let socket = upgrade(control).await?;
    let socket = socket.into_std().expect("a socket");
    let handle = socket.try_clone().expect("a descriptor");
    let socket = UnixStream::from_std(socket).expect("a socket");
    let name = Plugin::Outside.name();
    let plugin = connect_scripted(name, control.home.path(), socket)
        .await
        .ok()?;
    Some(Connected {
        plugin,
        socket: handle,
    })
}
