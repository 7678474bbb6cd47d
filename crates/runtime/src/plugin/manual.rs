//! The life of a plugin that somebody started by hand: as long as its connection.

use std::sync::{Arc, Mutex, PoisonError};

use keyway_proto::plugins::v1::RunStatus;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::ending::{let_leave, shut_down};
use super::{COMMAND_QUEUE, Command, Handle};
use crate::config::PluginConfig;
use crate::connection::{self, PluginConnection};
use crate::engine::Engine;
use crate::identity::Peer;
use crate::name::PluginName;
use crate::registration::{Registration, RegistrationError};
use crate::registry::{Availability, Entry, Origin};

/// Serves a plugin that connected by itself, from its first byte to its last.
pub(crate) async fn serve_manual<I>(io: I, peer: Arc<Peer>, engine: Arc<Engine>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let admission = Arc::new(Admission {
        engine: Arc::clone(&engine),
        commands: sender,
        admitted: Mutex::default(),
    });
    match connection::open(io, Arc::clone(&admission) as _, engine).await {
        Ok(connection) => run(connection, commands, &admission, &peer).await,
        Err(error) => tracing::warn!(
            pid = peer.pid(),
            "a plugin that was started by hand was not accepted: {error}"
        ),
    }
}

/// Waits for the end of the plugin or for somebody who wants it.
async fn run(
    connection: PluginConnection,
    mut commands: mpsc::Receiver<Command>,
    admission: &Admission,
    peer: &Peer,
) {
    let name = connection.registration().name.clone();
    let engine = &admission.engine;
    tracing::info!(plugin = %name, pid = peer.pid(), version = %connection.registration().version, "plugin started by hand registered");
    let mut connection = connection;
    let disabled = loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command.unwrap_or(Command::Stop) {
                Command::Enable(done) => {
                    // It runs already. Whoever asked may have stopped waiting.
                    let _ = done.send(true);
                }
                Command::Configure(config) => {
                    engine.registry.publish(running_entry(connection.registration(), connection.handle(), config));
                }
                Command::Replace(_) => debug_assert!(false, "it was not launched"),
                Command::Disable(done) => {
                    engine.registry.publish(disabled_entry(&connection));
                    let _ = done.send(true);
                    break true;
                }
                Command::Stop => break false,
            },
            reason = connection.ended() => {
                tracing::info!(plugin = %name, "plugin started by hand has left: {reason}");
                engine.registry.publish(leaving_entry(&connection));
                let_leave(connection).await;
                return;
            }
        }
    };
    shut_down(connection).await;
    let leftover = Leftover::of(commands, disabled).await;
    if leftover.disabled {
        tracing::info!(plugin = %name, "plugin started by hand was disabled");
    }
    admission.release(leftover.disabled);
    leftover.answer();
}

/// What came while the plugin was leaving. It is answered when the name is free: whoever enables the plugin may start it at
/// once.
struct Leftover {
    disabled: bool,
    waiting: Vec<oneshot::Sender<bool>>,
}

impl Leftover {
    async fn of(mut commands: mpsc::Receiver<Command>, disabled: bool) -> Self {
        let mut leftover = Self {
            disabled,
            waiting: Vec::new(),
        };
        commands.close();
        while let Some(command) = commands.recv().await {
            let (disabled, done) = match command {
                Command::Enable(done) => (false, done),
                Command::Disable(done) => (true, done),
                Command::Configure(_) | Command::Replace(_) | Command::Stop => continue,
            };
            leftover.disabled = disabled;
            leftover.waiting.push(done);
        }
        leftover
    }

    fn answer(self) {
        for done in self.waiting {
            // Whoever asked may have stopped waiting.
            let _ = done.send(true);
        }
    }
}

/// What a disabled plugin that was started by hand looks like: listed, so that it can be enabled again.
fn disabled_entry(connection: &PluginConnection) -> Entry {
    Entry {
        availability: Availability::Disabled,
        run_status: RunStatus::Stopped,
        status_message: "disabled".into(),
        ..running_entry(
            connection.registration(),
            connection.handle(),
            Arc::default(),
        )
    }
}

/// What a plugin looks like that still answers what it was asked, and nothing more.
fn leaving_entry(connection: &PluginConnection) -> Entry {
    Entry {
        availability: Availability::Down,
        run_status: RunStatus::Stopped,
        status_message: "leaving".into(),
        ..running_entry(
            connection.registration(),
            connection.handle(),
            Arc::default(),
        )
    }
}

fn running_entry(
    registration: &Registration,
    handle: Arc<Handle>,
    config: Arc<PluginConfig>,
) -> Entry {
    Entry {
        name: registration.name.clone(),
        origin: Origin::Manual,
        config,
        availability: Availability::Running(handle),
        kind: Some(registration.kind.clone()),
        version: registration.version.clone(),
        run_status: RunStatus::Running,
        status_message: String::new(),
    }
}

/// Gives a plugin the name that it asks for, if it may have it, and takes the name back when the plugin is gone.
struct Admission {
    engine: Arc<Engine>,
    commands: mpsc::Sender<Command>,
    /// The name that it holds.
    admitted: Mutex<Option<PluginName>>,
}

impl Admission {
    /// Gives the name back. One that is disabled stays listed, so that it can be enabled again.
    fn release(&self, keep_listed: bool) {
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = admitted.take() {
            self.engine.controls.remove(&name);
            if !keep_listed {
                self.engine.registry.remove(&name);
            }
        }
    }
}

impl connection::Admission for Admission {
    fn launched_as(&self) -> Option<&PluginName> {
        None
    }

    fn admit(
        &self,
        registration: &Registration,
        handle: &Arc<Handle>,
    ) -> Result<(), RegistrationError> {
        let (engine, name) = (&self.engine, &registration.name);
        let config = engine.config();
        if engine.is_stopping() {
            return Err(RegistrationError::Stopping);
        }
        if !config.external.allows(name) {
            return Err(RegistrationError::ManualRefused(name.clone()));
        }
        let plugin = Arc::new(config.plugin(name));
        if engine.is_disabled(name, &plugin) {
            return Err(RegistrationError::Disabled(name.clone()));
        }
        let entry = running_entry(registration, Arc::clone(handle), plugin);
        if !engine.registry.try_add(entry) {
            let holder = engine
                .registry
                .snapshot()
                .get(name)
                .map(|entry| entry.origin);
            return Err(match holder {
                Some(Origin::Launched) => RegistrationError::Reserved(name.clone()),
                _ => RegistrationError::Taken(name.clone()),
            });
        }
        engine.controls.insert(name.clone(), self.commands.clone());
        engine.remember(name, &registration.kind);
        *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.release(false);
    }
}
