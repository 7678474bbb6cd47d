//! The task that owns one plugin, launched or external, from when it is known to when it is forgotten.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::call_record::CallRecord;
use super::connection::Registrant;
use super::host::Host;
use super::machine::{Event, Machine};
use super::registration::{Registration, RegistrationError};
use super::resources::Launcher;
use super::source::LaunchSource;
use super::state::{Idle, State};
use crate::caller::Peer;
use crate::config::PluginSettings;
use crate::launch::{OutputLog, Shortage};
use crate::model::PluginName;
use crate::wait::until;

mod external;
mod outcome;
mod publish;
mod update;

#[cfg(test)]
mod tests;

/// A command to the task of a plugin.
pub(crate) enum Command {
    /// Uses other settings or another file; `source` is `None` if there is no file.
    Update(Update),
    /// Runs; replies with the reason if it cannot.
    Enable(oneshot::Sender<Result<(), NotEnabled>>),
    /// Stops and stays stopped; replies when the plugin is not a candidate any more.
    Disable(oneshot::Sender<()>),
    /// Takes over an external plugin that registers under this name.
    Connect {
        registrant: Box<Registrant>,
        peer: Arc<Peer>,
    },
    /// Drops retained responses.
    ForgetResponses,
    /// Replies when the plugin is neither starting nor about to be restarted.
    Settle(oneshot::Sender<()>),
    /// Tries a plugin again that is not running.
    Retry,
    /// Ends the connection of an external plugin that the settings do not admit any more.
    Disconnect(RegistrationError),
    /// Ends for good.
    Stop,
}

/// The settings and the file of one plugin after a reload or a change on disk.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) settings: Arc<PluginSettings>,
    pub(crate) is_pinning: bool,
    pub(crate) source: Option<LaunchSource>,
}

/// The reason why a plugin does not run although it was enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotEnabled {
    #[error("{name} stays refused: {why}")]
    Refused { name: PluginName, why: String },
    #[error(
        "the executable of {0} is not trusted. Look at it, then run `keyway plugins trust {0}`"
    )]
    Untrusted(PluginName),
}

/// Sends commands to the task of a plugin. Only the manager sends any, a few for each request of a user, so the queue needs no bound.
pub(crate) type CommandSender = mpsc::UnboundedSender<Command>;

/// An external plugin whose registration waits for its response, and its process.
pub(crate) type Arrival = (Registrant, Arc<Peer>);

/// Owns one plugin.
pub(crate) struct PluginTask {
    launcher: Launcher,
    machine: Machine<Launcher>,
    commands: mpsc::UnboundedReceiver<Command>,
    is_pinning: bool,
    /// The time when a file that vanished counts as gone.
    vanishes_at: Option<Instant>,
    /// The user's decision; it wins over the configuration until that changes.
    decision: Option<bool>,
    is_stopping: bool,
    /// Replied to when it is known whether an enabled plugin is refused.
    enabling: Vec<oneshot::Sender<Result<(), NotEnabled>>>,
    /// Replied to when no start is due or under way.
    settling: Vec<oneshot::Sender<()>>,
    /// The launched process, until it has been reaped: its group may query the daemon until then.
    process: Option<i32>,
    /// The process of an external plugin, while that is connected.
    external: Option<Arc<Peer>>,
    /// An external plugin that came back before its last connection had ended.
    returning: Option<Arrival>,
    /// The shortage that put off the last launch, without a fault of the plugin.
    shortage: Option<Shortage>,
    registration: Option<Arc<Registration>>,
    record: Arc<CallRecord>,
}

impl PluginTask {
    /// Creates a plugin as `update` describes it. It is published at once, so that no query comes before it is known.
    pub(crate) fn new(name: PluginName, host: Arc<Host>, update: Update) -> (Self, CommandSender) {
        #[expect(
            clippy::disallowed_methods,
            reason = "one command per request of the manager, which waits for its reply"
        )]
        let (sender, commands) = mpsc::unbounded_channel();
        let decision = host.memory.plugin(&name).decision();
        let Update {
            settings,
            is_pinning,
            source,
        } = update;
        let machine = Machine::new(host.restart, seed(&name));
        let mut task = Self {
            // At the start the configuration holds.
            decision: decision.filter(|_| settings.enabled.is_none()),
            launcher: Launcher {
                name,
                host,
                settings,
                source,
                output: OutputLog::default(),
            },
            machine,
            commands,
            is_pinning,
            vanishes_at: None,
            is_stopping: false,
            enabling: Vec::new(),
            settling: Vec::new(),
            process: None,
            external: None,
            returning: None,
            shortage: None,
            registration: None,
            record: Arc::default(),
        };
        task.configure();
        task.desire(false);
        (task, sender)
    }

    fn name(&self) -> &PluginName {
        &self.launcher.name
    }

    /// Owns the plugin until it is forgotten or [stopped](Command::Stop). Returns the registrations that arrived meanwhile, for the
    /// next task of this name.
    pub(crate) async fn run(mut self) -> Vec<Arrival> {
        // One that nothing names exists only for the connection that comes with its first command.
        let mut is_new = true;
        while is_new || !self.machine.is_gone() {
            let timer = self
                .machine
                .next_timer()
                .into_iter()
                .chain(self.vanishes_at)
                .min();
            tokio::select! {
                biased;
                command = self.commands.recv(), if !self.is_stopping => {
                    self.on_command(command.unwrap_or(Command::Stop));
                }
                outcome = self.machine.state_mut().outcome() => self.on_outcome(outcome).await,
                () = until(timer) => self.on_timer(),
            }
            is_new = false;
        }
        self.launcher.host.publisher.remove(&self.launcher.name);
        self.finish()
    }

    /// Replies to the commands that arrived while the plugin was being forgotten, and returns the registrations among them.
    fn finish(mut self) -> Vec<Arrival> {
        self.commands.close();
        let mut arrivals: Vec<Arrival> = self.returning.take().into_iter().collect();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Connect { registrant, peer } => arrivals.push((*registrant, peer)),
                Command::Enable(done) => drop(done.send(Ok(()))),
                Command::Disable(done) | Command::Settle(done) => drop(done.send(())),
                Command::Update(_)
                | Command::ForgetResponses
                | Command::Retry
                | Command::Disconnect(_)
                | Command::Stop => {}
            }
        }
        arrivals
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        if self.vanishes_at.is_some_and(|at| at <= now) {
            self.vanished();
            return;
        }
        self.machine.on_timer(&mut self.launcher, now);
        self.publish();
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Update(update) => self.update(update),
            Command::Enable(done) => self.enable(done),
            Command::Disable(done) => {
                self.disable();
                // The caller may have stopped waiting.
                let _ = done.send(());
            }
            Command::Connect { registrant, peer } => self.connect(*registrant, peer),
            Command::Disconnect(error) => self.disconnect(&error),
            Command::Retry => self.feed(Event::Retry),
            Command::Settle(done) => {
                self.settling.push(done);
                self.reply_to_waiting();
            }
            Command::ForgetResponses => {
                if let State::Running { connection, .. } = self.machine.state() {
                    connection.handle().flights().clear();
                }
            }
            Command::Stop => {
                self.is_stopping = true;
                self.desire(false);
            }
        }
    }

    fn feed(&mut self, event: Event<Launcher>) {
        self.machine
            .handle(event, &mut self.launcher, Instant::now());
        self.publish();
        self.reply_to_waiting();
    }

    /// Records an event of the plugin. `peer`: the process of an external one.
    fn audit(&self, event: &'static str, peer: Option<&Peer>, detail: &str) {
        let audit = &self.launcher.host.audit;
        audit.plugin(event, self.name(), peer, detail);
    }

    /// Replies to the commands that wait for the outcome of a start.
    fn reply_to_waiting(&mut self) {
        if self.machine.is_settled() {
            for done in self.settling.drain(..) {
                // The caller may have stopped waiting.
                let _ = done.send(());
            }
        }
        let result = match self.machine.state() {
            State::Launching { .. } | State::Draining { .. } => return,
            State::Idle(Idle::Refused { why }) => Err(NotEnabled::Refused {
                name: self.name().clone(),
                why: why.clone(),
            }),
            _ => Ok(()),
        };
        for done in self.enabling.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(result.clone());
        }
    }
}

/// Returns a seed for the random part of restart delays that differs between plugins and between runs.
fn seed(name: &PluginName) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(name)
}
