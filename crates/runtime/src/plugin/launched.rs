//! The life of a plugin that the daemon launches: one task owns it from its first start to its last.

mod source;
mod stage;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig};
use tokio::sync::mpsc;

use super::ending::{ChildProcess, end_crashed, end_gracefully, end_unregistered};
use super::{Command, Handle};
use crate::connection::{self, OpenError};
use crate::engine::Engine;
use crate::launch::{EndedProcess, LaunchSpec, Launched, PLUGIN_DESCRIPTOR, PinnedBy, StderrLog};
use crate::name::PluginName;
use crate::realm::Realm;
use crate::registration::{Registration, RegistrationError};
use crate::registry::{Entry, Kind, Origin};
use crate::supervisor::{Action, Event, State, Supervisor};
use crate::timer::until;

use self::stage::{Job, Outcome, Stage};
use self::status::Status;

pub(crate) use self::source::{Fingerprint, LaunchSource};

/// The owner of one launched plugin.
pub(crate) struct LaunchedPlugin {
    name: PluginName,
    engine: Arc<Engine>,
    source: LaunchSource,
    commands: mpsc::Receiver<Command>,
    supervisor: Supervisor,
    stage: Stage,
    /// Whether it has registered or failed since it was last wanted; until then a query may wait for it.
    settled: bool,
    /// Whether the task ends when the plugin has stopped.
    finishing: bool,
    kind: Option<Kind>,
    version: String,
    /// Why it is not running, for people.
    trouble: String,
    stderr: StderrLog,
}

impl LaunchedPlugin {
    /// A plugin that is not started yet, known from `state` or never seen.
    pub(crate) fn new(
        name: PluginName,
        engine: Arc<Engine>,
        source: LaunchSource,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let seed = seed(&name);
        let kind = engine.remembered_kind(&name);
        let supervisor = Supervisor::new(engine.config().restart, seed);
        Self {
            name,
            engine,
            source,
            commands,
            supervisor,
            stage: Stage::Idle,
            settled: false,
            finishing: false,
            kind,
            version: String::new(),
            trouble: String::new(),
            stderr: StderrLog::default(),
        }
    }

    /// Publishes the plugin and decides whether it starts. Called before [`run`](Self::run), so that no query comes before
    /// the plugin is known.
    pub(crate) fn prepare(&mut self) {
        if self.is_wanted(&self.source) {
            self.feed(Event::Enable);
        } else {
            self.publish();
        }
    }

    fn is_wanted(&self, source: &LaunchSource) -> bool {
        source.may_start && !self.engine.is_disabled(&self.name, &source.config)
    }

    /// Owns the plugin until it is told to [stop](Command::Stop) or its senders are gone.
    pub(crate) async fn run(mut self) {
        while !(self.finishing && self.supervisor.state() == State::Stopped) {
            let timer = self.supervisor.next_timeout();
            tokio::select! {
                biased;
                command = self.commands.recv(), if !self.finishing => self.on_command(command.unwrap_or(Command::Stop)),
                outcome = self.stage.outcome() => self.on_outcome(outcome),
                () = until(timer) => {
                    let action = self.supervisor.handle_timeout(Instant::now());
                    self.act(action);
                }
            }
        }
        self.engine.registry.remove(&self.name);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Enable(done) if !self.source.may_start => {
                let _ = done.send(false);
            }
            Command::Enable(done) => {
                if !matches!(self.supervisor.state(), State::Running { .. }) {
                    self.settled = false;
                }
                self.feed(Event::Enable);
                // Whoever asked may have stopped waiting.
                let _ = done.send(true);
            }
            Command::Disable(done) => {
                self.feed(Event::Disable);
                let _ = done.send(true);
            }
            Command::Configure(config) => self.replace(LaunchSource {
                config,
                ..self.source.clone()
            }),
            Command::Replace(source) => self.replace(*source),
            Command::Stop => {
                self.finishing = true;
                self.feed(Event::Disable);
            }
        }
    }

    fn replace(&mut self, source: LaunchSource) {
        let wanted = self.is_wanted(&source);
        // A new realm or time-out takes effect at once; a new environment or file needs a new process.
        let fresh_process = self.source.needs_fresh_process(&source);
        self.source = source;
        let enabled = self.supervisor.state() != State::Stopped;
        match (wanted, enabled) {
            (false, _) => self.feed(Event::Disable),
            (true, false) => {
                self.settled = false;
                self.feed(Event::Enable);
            }
            (true, true) if fresh_process => self.feed(Event::Restart),
            (true, true) => self.publish(),
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        match (stage, outcome) {
            (_, Outcome::Launched(Ok(launched))) => self.launched(launched),
            (_, Outcome::Launched(Err(error))) => {
                self.fail(error.to_string());
                self.feed(Event::Failed);
            }
            (Stage::Registering { child, .. }, Outcome::Opened(Ok(connection))) => {
                self.registered(connection.registration());
                self.stage = Stage::Running { child, connection };
                self.feed(Event::Registered);
            }
            (stage, Outcome::Opened(Err(error))) => {
                // One that closed its connection is about to end.
                self.settled |= !matches!(error, OpenError::Ended(_));
                self.crash(stage, error.to_string());
            }
            (stage, Outcome::ExitedEarly) => {
                self.crash(stage, "it ended before it registered".into());
            }
            (stage, Outcome::Lost(reason)) => self.crash(stage, reason),
            (_, Outcome::Over(ended)) => self.over(ended),
            (stage, Outcome::Opened(Ok(_))) => self.stage = stage,
        }
    }

    fn launched(&mut self, launched: Launched) {
        self.stderr = StderrLog::default();
        let Launched {
            process,
            socket,
            stderr,
        } = launched;
        tracing::info!(plugin = %self.name, pid = process.pid().as_raw_nonzero(), "plugin process started");
        let child = ChildProcess::new(process, stderr, self.stderr.clone(), self.name.clone());
        let admission = Admission {
            name: self.name.clone(),
            engine: Arc::clone(&self.engine),
        };
        let opening = connection::open(socket, Arc::new(admission), Arc::clone(&self.engine));
        self.stage = Stage::Registering {
            child,
            opening: Box::pin(opening),
        };
        self.feed(Event::Started);
    }

    fn registered(&mut self, registration: &Registration) {
        tracing::info!(plugin = %self.name, version = %registration.version, kind = ?registration.kind, "plugin registered");
        self.settled = true;
        self.trouble.clear();
        self.kind = Some(registration.kind.clone());
        self.version.clone_from(&registration.version);
        self.engine.remember(&self.name, &registration.kind);
        if let Kind::Provider(pattern) = &registration.kind {
            let realm = Realm::new(
                pattern.clone(),
                self.source
                    .config
                    .realm
                    .as_ref()
                    .and_then(|realm| realm.first()),
            );
            if realm.is_empty() {
                tracing::error!(
                    plugin = %self.name, registered = %pattern, configured = %realm,
                    "the realm that configuration allows holds nothing of what the plugin registered for: it is never asked"
                );
            }
        }
    }

    /// The plugin ended unasked. What is left of it stays in `stage` until the supervisor asks for it to be cleared away. How
    /// its process ended is known then, and queries that wait for a plugin that never registered are told that too.
    fn crash(&mut self, stage: Stage, reason: String) {
        self.trouble = reason;
        self.stage = stage;
        self.feed(Event::Ended);
    }

    fn fail(&mut self, reason: String) {
        self.settled = true;
        self.trouble = reason;
    }

    /// The process is gone, after a crash or a stop.
    fn over(&mut self, ended: EndedProcess) {
        if self.supervisor.state() == State::Crashed {
            self.settled = true;
            self.trouble = format!("{} ({ended})", self.trouble);
            if let Some(line) = self.stderr.last_words() {
                self.trouble = format!("{}; its last words: {line}", self.trouble);
            }
            tracing::error!(plugin = %self.name, "plugin failed: {}", self.trouble);
            self.feed(Event::Cleaned);
        } else {
            tracing::info!(plugin = %self.name, forced = ended.killed, "plugin stopped: {ended}");
            self.feed(Event::Drained);
        }
    }

    fn feed(&mut self, event: Event) {
        let action = self.supervisor.handle(event, Instant::now());
        self.act(action);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::None => {}
            Action::Launch => self.launch(),
            Action::Drain | Action::CleanUp => self.end(action == Action::Drain),
        }
        self.publish();
    }

    fn launch(&mut self) {
        let spec = self.launch_spec();
        let spawner = self.engine.spawner.clone();
        self.stage = Stage::Launching(Box::pin(
            async move { Launched::start(&spawner, spec).await },
        ));
    }

    fn launch_spec(&self) -> LaunchSpec {
        let config = &self.source.config;
        let passed: Vec<String> = self
            .source
            .pass_env
            .iter()
            .chain(&config.pass_env)
            .cloned()
            .collect();
        let mut environment = self.engine.environment.for_plugin(&passed, &config.env);
        let launch = LaunchConfig {
            name: self.name.to_string(),
            timeout: self.engine.config().start_timeout,
            fd: PLUGIN_DESCRIPTOR,
        };
        environment.insert(LAUNCH_VARIABLE.into(), launch.to_json().into());
        let configured = self.engine.config().plugin(&self.name).sha256.is_some();
        LaunchSpec {
            name: self.name.clone(),
            executable: self.source.executable.clone(),
            argv0: self.source.argv0.clone(),
            environment,
            sha256: config.sha256,
            pinned_by: if configured {
                PinnedBy::Configuration
            } else {
                PinnedBy::Trust
            },
            is_built_in: self.engine.config().bundled.iter().any(|bundled| {
                bundled.name == self.name && bundled.executable == self.source.executable
            }),
        }
    }

    /// Ends what the current stage holds.
    fn end(&mut self, gracefully: bool) {
        let job: Job<EndedProcess> = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Running { child, connection } if gracefully => {
                Box::pin(end_gracefully(child, connection))
            }
            Stage::Running { child, connection } => Box::pin(end_crashed(child, Some(connection))),
            Stage::Registering { child, .. } if gracefully => Box::pin(end_unregistered(child)),
            Stage::Registering { child, .. } => Box::pin(end_crashed(child, None)),
            // The supervisor asks for an end only of what it was told has started.
            stage @ (Stage::Idle | Stage::Launching(_) | Stage::Ending(_)) => {
                debug_assert!(false, "nothing to end");
                self.stage = stage;
                return;
            }
        };
        self.stage = Stage::Ending(job);
    }

    fn publish(&self) {
        let Status {
            availability,
            run_status,
            message,
        } = self.status();
        self.engine.registry.publish(Entry {
            name: self.name.clone(),
            origin: Origin::Launched,
            config: Arc::clone(&self.source.config),
            availability,
            kind: self.kind.clone(),
            version: self.version.clone(),
            run_status,
            status_message: message,
        });
    }
}

/// Lets the plugin register under the name that it was launched with, and no other. The name is its own already.
struct Admission {
    name: PluginName,
    engine: Arc<Engine>,
}

impl connection::Admission for Admission {
    fn launched_as(&self) -> Option<&PluginName> {
        Some(&self.name)
    }

    fn admit(
        &self,
        _registration: &Registration,
        _handle: &Arc<Handle>,
    ) -> Result<(), RegistrationError> {
        if self.engine.is_stopping() {
            Err(RegistrationError::Stopping)
        } else {
            Ok(())
        }
    }
}

/// A seed for the random part of restart delays that differs from plugin to plugin and from run to run.
fn seed(name: &PluginName) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(name)
}

/// How long a stop may take at most: the protocol's three bounded steps and the time to notice.
pub(crate) const STOP_BOUND: Duration = Duration::from_secs(8);
