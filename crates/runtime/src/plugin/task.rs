//! The task that owns one plugin, launched or external, from when it is known to when it is forgotten.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::call_record::CallRecord;
use super::connection::{OpenError, Registrant};
use super::ending::exit;
use super::host::Host;
use super::machine::{Event, LaunchFailure, Machine};
use super::registration::{Registration, RegistrationError};
use super::resources::{Launcher, Outcome};
use super::source::LaunchSource;
use super::state::{Desired, Idle, State};
use crate::config::PluginSettings;
use crate::identity::Peer;
use crate::launch::{EndedProcess, LaunchError, LaunchErrorClass, Launched, StderrLog};
use crate::model::state::RememberedRegistration;
use crate::model::{Class, Kind, PluginName, Realm};
use crate::timer::until;

mod publish;

/// What the task of a plugin takes.
pub(crate) enum Command {
    /// Uses other settings or another file; `source` is `None` if there is no file.
    Update(Update),
    /// Runs, or says why not.
    Enable(oneshot::Sender<Result<(), NotEnabled>>),
    /// Stops and stays stopped; answered when it is no candidate any more.
    Disable(oneshot::Sender<()>),
    /// Takes over an external plugin that wants to register under this name.
    Connect {
        registrant: Box<Registrant>,
        peer: Arc<Peer>,
    },
    /// Drops kept responses.
    ForgetResponses,
    /// Answered when the plugin is neither starting nor about to be restarted.
    Settle(oneshot::Sender<()>),
    /// Tries a plugin again that is not running.
    Retry,
    /// Ends the connection of an external plugin that the settings do not admit any more.
    Disconnect(RegistrationError),
    /// Ends for good.
    Stop,
}

/// What a reload or a change on disk says of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) settings: Arc<PluginSettings>,
    pub(crate) is_pinning: bool,
    pub(crate) source: Option<LaunchSource>,
}

/// Why a plugin does not run although it was enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotEnabled {
    #[error("{name} stays refused: {why}")]
    Refused { name: PluginName, why: String },
    #[error(
        "the executable of {0} is not trusted: look at it, then run `keyway plugins trust {0}`"
    )]
    Untrusted(PluginName),
}

/// Sends commands to the task of a plugin. Only the manager sends any, a few for each request of a user, so the queue needs no bound.
pub(crate) type CommandSender = mpsc::UnboundedSender<Command>;

/// Owns one plugin.
pub(crate) struct PluginTask {
    launcher: Launcher,
    machine: Machine<Launcher>,
    commands: mpsc::UnboundedReceiver<Command>,
    is_pinning: bool,
    /// When a file that vanished counts as gone.
    vanishes_at: Option<Instant>,
    /// What the user decided; it wins over the configuration until that changes.
    decision: Option<bool>,
    is_stopping: bool,
    /// Answered when a refused plugin's next start has an outcome.
    waiting: Vec<oneshot::Sender<Result<(), NotEnabled>>>,
    /// Answered when no start is due or under way.
    settling: Vec<oneshot::Sender<()>>,
    class: Class,
    /// The process of an external plugin.
    external: Option<Arc<Peer>>,
    /// The launched process, until it has been reaped: its group may ask the daemon for secrets until then.
    pid: Option<i32>,
    registration: Option<Arc<Registration>>,
    record: Arc<CallRecord>,
}

impl PluginTask {
    /// A plugin as `update` describes it. It is published at once, so that no query comes before it is known.
    pub(crate) fn new(name: PluginName, host: Arc<Host>, update: Update) -> (Self, CommandSender) {
        let (sender, commands) = mpsc::unbounded_channel();
        let decision = host.memory.plugin(&name).decision();
        let Update {
            settings,
            is_pinning,
            source,
        } = update;
        let machine = Machine::new(host.restart, seed(&name));
        let class = if source.is_some() {
            Class::Launched
        } else {
            Class::External
        };
        let mut task = Self {
            // At the start the configuration holds.
            decision: decision.filter(|_| settings.enabled.is_none()),
            launcher: Launcher {
                name,
                host,
                settings,
                source,
                stderr: StderrLog::default(),
            },
            machine,
            commands,
            is_pinning,
            vanishes_at: None,
            is_stopping: false,
            waiting: Vec::new(),
            settling: Vec::new(),
            class,
            external: None,
            pid: None,
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

    /// Owns the plugin until it is forgotten or told to [stop](Command::Stop).
    pub(crate) async fn run(mut self) {
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
                    self.on_command(command.unwrap_or(Command::Stop)).await;
                }
                outcome = self.machine.state_mut().outcome() => self.on_outcome(outcome).await,
                () = until(timer) => self.on_timer(),
            }
            is_new = false;
        }
        self.launcher.host.publisher.remove(&self.launcher.name);
        self.refuse_rest().await;
    }

    /// A registration that arrived while the plugin was being forgotten is refused; the plugin tries again.
    async fn refuse_rest(&mut self) {
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Connect { registrant, .. } => {
                    let name = self.name().clone();
                    registrant.refuse(RegistrationError::Taken(name)).await;
                }
                Command::Enable(done) => drop(done.send(Ok(()))),
                Command::Disable(done) | Command::Settle(done) => drop(done.send(())),
                Command::Update(_)
                | Command::ForgetResponses
                | Command::Retry
                | Command::Disconnect(_)
                | Command::Stop => {}
            }
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        if self.vanishes_at.is_some_and(|at| at <= now) {
            self.vanishes_at = None;
            self.launcher.source = None;
            tracing::info!(plugin = %self.name(), "executable removed");
            self.desire(false);
            return;
        }
        self.machine.on_timer(&mut self.launcher, now);
        self.publish();
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Update(update) => self.update(update),
            Command::Enable(done) => self.enable(done),
            Command::Disable(done) => {
                self.decide(false);
                self.desire(false);
                // The caller may have stopped waiting.
                let _ = done.send(());
            }
            Command::Connect { registrant, peer } => self.connect(*registrant, peer).await,
            Command::Disconnect(error) => self.disconnect(&error),
            Command::Retry => self.feed(Event::Retry),
            Command::Settle(done) => {
                self.settling.push(done);
                self.answer_waiting();
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

    fn update(&mut self, update: Update) {
        let old = std::mem::replace(&mut self.launcher.settings, update.settings);
        let settings = Arc::clone(&self.launcher.settings);
        if old.enabled != settings.enabled {
            self.decision = None;
            self.launcher
                .host
                .memory
                .remember(&self.launcher.name, |plugin| plugin.set_decision(None));
        }
        self.is_pinning = update.is_pinning;
        let mut is_fresh = old.needs_fresh_process(&settings);
        match update.source {
            None if self.launcher.source.is_some() => {
                self.vanishes_at
                    .get_or_insert(Instant::now() + self.launcher.host.removal_grace);
            }
            None => {}
            source => {
                self.vanishes_at = None;
                is_fresh |= self.launcher.source != source;
                self.launcher.source = source;
            }
        }
        if let State::Running { connection, .. } = self.machine.state() {
            connection.handle().configure(&settings);
        }
        self.configure();
        self.desire(is_fresh);
    }

    fn configure(&mut self) {
        let settings = &self.launcher.settings;
        let fatal_exit = settings.fatal_exit.iter().copied().collect();
        self.machine.configure(settings.start_timeout, fatal_exit);
    }

    /// Lets the machine follow what is wanted now.
    fn desire(&mut self, is_fresh: bool) {
        let desired = self.desired();
        let event = Event::Desire { desired, is_fresh };
        self.feed(event);
    }

    fn enable(&mut self, done: oneshot::Sender<Result<(), NotEnabled>>) {
        let was_refused = matches!(self.machine.state(), State::Idle(Idle::Refused { .. }));
        self.decide(true);
        self.desire(false);
        let result = match self.machine.desired() {
            Desired::Rest(Idle::Untrusted) => Err(NotEnabled::Untrusted(self.name().clone())),
            Desired::Rest(Idle::Refused { why }) => Err(NotEnabled::Refused {
                name: self.name().clone(),
                why: why.clone(),
            }),
            _ => Ok(()),
        };
        if result.is_ok() {
            self.feed(Event::Retry);
            if was_refused {
                self.waiting.push(done);
                return;
            }
        }
        // The caller may have stopped waiting.
        let _ = done.send(result);
    }

    /// Keeps what the user decided, over the configuration.
    fn decide(&mut self, enabled: bool) {
        self.decision = Some(enabled);
        self.launcher
            .host
            .memory
            .remember(&self.launcher.name, |plugin| {
                plugin.set_decision(Some(enabled));
            });
    }

    /// What is wanted, by settings, file and decisions.
    fn desired(&self) -> Desired {
        if self.is_stopping {
            return Desired::Rest(Idle::Gone);
        }
        let settings = &self.launcher.settings;
        let enabled = self.decision.or(settings.enabled);
        let Some(source) = &self.launcher.source else {
            return if enabled == Some(false) {
                Desired::Rest(Idle::Disabled)
            } else {
                Desired::External {
                    is_configured: settings.is_configured,
                }
            };
        };
        let needs_pin = self.is_pinning && settings.sha256.is_none() && !source.is_built_in;
        match enabled {
            Some(false) => Desired::Rest(Idle::Disabled),
            None if source.is_available_only && !settings.is_configured => {
                Desired::Rest(Idle::Available)
            }
            _ if needs_pin && settings.is_configured => Desired::Rest(Idle::Refused {
                why: format!(
                    "plugins are pinned and it is not: run `keyway plugins trust {}`",
                    self.name()
                ),
            }),
            _ if needs_pin => Desired::Rest(Idle::Untrusted),
            _ => Desired::Run,
        }
    }

    /// Accepts or refuses an external plugin. The daemon-wide rules were checked before.
    async fn connect(&mut self, registrant: Registrant, peer: Arc<Peer>) {
        let pid = peer.pid();
        if let Err(error) = self.check_external(registrant.registration()) {
            tracing::warn!(plugin = %self.name(), pid, %error, "external plugin refused");
            self.launcher
                .host
                .audit
                .plugin("refuse", self.name(), Some(&peer), &error.to_string());
            registrant.refuse(error).await;
            return;
        }
        let connection = registrant.accept(&self.launcher.settings, &self.launcher.host.version);
        self.class = Class::External;
        self.registered(Arc::clone(connection.registration()), Some(&peer));
        self.external = Some(peer);
        self.feed(Event::Connected(connection));
    }

    fn disconnect(&mut self, error: &RegistrationError) {
        if self.class != Class::External {
            return;
        }
        tracing::warn!(plugin = %self.name(), %error, "external plugin disconnected");
        self.launcher.host.audit.plugin(
            "disconnect",
            self.name(),
            self.external.as_deref(),
            &error.to_string(),
        );
        self.feed(Event::Disconnect);
    }

    fn check_external(&self, registration: &Registration) -> Result<(), RegistrationError> {
        let name = self.name().clone();
        if self.launcher.host.is_stopping() || self.is_stopping {
            return Err(RegistrationError::Stopping);
        }
        if self.launcher.source.is_some() {
            return Err(RegistrationError::Reserved(name));
        }
        if *self.machine.desired() == Desired::Rest(Idle::Disabled) {
            return Err(RegistrationError::Disabled(name));
        }
        if !matches!(self.machine.state(), State::Idle(_)) {
            return Err(RegistrationError::Taken(name));
        }
        self.check_kind(registration)
    }

    /// A plugin with a configured realm is a provider.
    fn check_kind(&self, registration: &Registration) -> Result<(), RegistrationError> {
        if registration.kind == Kind::AccessControl && self.launcher.settings.realm.is_some() {
            return Err(RegistrationError::NotProvider(self.name().clone()));
        }
        Ok(())
    }

    async fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Launched(Ok(launched)) => self.launched(launched),
            Outcome::Launched(Err(error)) => self.launch_failed(&error),
            Outcome::Opened(Ok(registrant)) => self.opened(registrant).await,
            Outcome::Opened(Err(error)) => self.ended(error.to_string()),
            Outcome::ExitedEarly => self.ended("it ended before it registered".into()),
            Outcome::Lost(why) => self.lost(why),
            Outcome::Ended(ended) => self.drained(ended),
        }
    }

    fn launched(&mut self, launched: Launched) {
        self.class = Class::Launched;
        self.external = None;
        let (child, opening) = self.launcher.adopt(launched);
        self.pid = Some(child.pid());
        tracing::info!(plugin = %self.name(), pid = child.pid(), "plugin process started");
        self.feed(Event::Launched { child, opening });
    }

    fn launch_failed(&mut self, error: &LaunchError) {
        let why = error.to_string();
        let failure = match error.class() {
            LaunchErrorClass::Refused => {
                tracing::error!(plugin = %self.name(), "plugin refused: {why}");
                self.launcher
                    .host
                    .audit
                    .plugin("refuse", self.name(), None, &why);
                LaunchFailure::Refused { why }
            }
            LaunchErrorClass::Shortage => {
                tracing::warn!(plugin = %self.name(), "plugin not started for a shortage of the daemon: {why}");
                LaunchFailure::Shortage { why }
            }
            LaunchErrorClass::Busy | LaunchErrorClass::Failed => {
                tracing::error!(plugin = %self.name(), "plugin failed: {why}");
                self.first_start_failed();
                LaunchFailure::Failed { why }
            }
        };
        self.feed(Event::LaunchFailed(failure));
    }

    async fn opened(&mut self, registrant: Registrant) {
        let refusal = if self.launcher.host.is_stopping() {
            Err(RegistrationError::Stopping)
        } else {
            self.check_kind(registrant.registration())
        };
        if let Err(error) = refusal {
            let error: OpenError = registrant.refuse(error).await;
            self.ended(error.to_string());
            return;
        }
        let connection = registrant.accept(&self.launcher.settings, &self.launcher.host.version);
        self.registered(Arc::clone(connection.registration()), None);
        self.feed(Event::Opened(connection));
    }

    /// Notes and reports a registration that was accepted. `peer`: the process of an external plugin.
    fn registered(&mut self, registration: Arc<Registration>, peer: Option<&Arc<Peer>>) {
        let realm = self.realm_of(&registration.kind);
        let shown = realm.as_ref().map(Realm::to_string).unwrap_or_default();
        let (name, version) = (self.name(), &registration.version);
        if let Some(peer) = peer {
            let executable = peer.executable();
            tracing::warn!(
                plugin = %name, pid = peer.pid(), executable = %executable.display(), realm = %shown, %version,
                "external plugin registered"
            );
        } else {
            tracing::info!(plugin = %name, realm = %shown, %version, "plugin registered");
        }
        self.launcher
            .host
            .audit
            .plugin("register", name, peer.map(|peer| &**peer), &shown);
        if realm.is_some_and(|realm| realm.is_empty()) {
            tracing::error!(
                plugin = %name,
                "the configured realm holds nothing of what the plugin registered for: it is never called"
            );
        }
        self.remember(&registration);
        self.registration = Some(registration);
    }

    fn remember(&self, registration: &Registration) {
        let kind = registration.kind.clone();
        let source = self.launcher.source.as_ref();
        let file = source.and_then(|source| source.identity.clone());
        self.launcher.host.memory.remember(self.name(), |plugin| {
            plugin.registration = Some(RememberedRegistration { kind, file });
            plugin.failed_file = None;
        });
    }

    /// A file whose first registration failed is not waited for at the next start.
    fn first_start_failed(&self) {
        let source = self.launcher.source.as_ref();
        let Some(file) = source.and_then(|source| source.identity.clone()) else {
            return;
        };
        self.launcher.host.memory.remember(self.name(), |plugin| {
            if plugin.registration_of(&file).is_none() {
                plugin.failed_file = Some(file);
            }
        });
    }

    fn lost(&mut self, why: String) {
        if self.class == Class::External {
            tracing::info!(plugin = %self.name(), "external plugin left: {why}");
            self.launcher
                .host
                .audit
                .plugin("leave", self.name(), self.external.as_deref(), &why);
        }
        self.ended(why);
    }

    fn ended(&mut self, why: String) {
        let pause = self.launcher.host.pulse.pause(Instant::now());
        self.feed(Event::Ended { why, pause });
    }

    fn drained(&mut self, ended: Option<EndedProcess>) {
        self.pid = None;
        let registered = !matches!(
            self.machine.state(),
            State::Draining {
                then: super::state::Then::Failure { since: None, .. },
                ..
            }
        );
        if !registered {
            self.first_start_failed();
        }
        let last_words = self.launcher.stderr.last_words();
        let text = ended.as_ref().map(ToString::to_string);
        let has_failed = matches!(
            self.machine.state(),
            State::Draining {
                then: super::state::Then::Failure { .. },
                ..
            }
        );
        let words = last_words.filter(|_| has_failed);
        self.feed(Event::Drained(exit(ended, words)));
        match self.machine.state() {
            State::Idle(idle) if has_failed => {
                tracing::error!(plugin = %self.name(), "plugin failed: {}", idle.why());
            }
            _ => {
                if let Some(text) = text {
                    tracing::info!(plugin = %self.name(), "plugin stopped: {text}");
                }
            }
        }
    }

    fn feed(&mut self, event: Event<Launcher>) {
        self.machine
            .handle(event, &mut self.launcher, Instant::now());
        self.answer_waiting();
        self.publish();
    }

    /// Answers those that wait for the outcome of a start.
    fn answer_waiting(&mut self) {
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
        for done in self.waiting.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(result.clone());
        }
    }

    /// The effective realm of a kind.
    fn realm_of(&self, kind: &Kind) -> Option<Realm> {
        match kind {
            Kind::Provider(patterns) => {
                let limit = self.launcher.settings.realm.as_deref();
                Some(Realm::new(patterns, limit))
            }
            Kind::AccessControl => None,
        }
    }
}

/// A seed for the random part of restart delays that differs between plugins and between runs.
fn seed(name: &PluginName) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(name)
}
