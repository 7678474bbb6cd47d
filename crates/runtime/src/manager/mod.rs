//! The set of plugins: found at the start, and updated by reloads, commands and changes on disk.
//!
//! The manager owns the tasks of all plugins. It starts work that can take time and never waits for it.

mod commands;
mod discovery;
mod disk;
mod external;
mod handle;
mod look;
mod reconcile;
mod report;
mod trust;
mod watcher;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::look::{Looked, Looker};
use self::reconcile::Sources;
use self::watcher::FileWatcher;
use crate::config::{Config, ConfigError, Current, Settings};
use crate::launch::{Checksum, LaunchError};
use crate::model::PluginName;
use crate::plugin::{Arrival, Command, CommandSender, Host, PluginTask, Update};
use crate::registry::Registry;

pub use self::discovery::DiscoveryProblem;
pub use self::handle::{ManagerHandle, Trusted};
pub(crate) use self::handle::{Request, SetEnabledError};
pub use self::report::ReloadReport;
pub use self::trust::TrustError;

/// Reads the configuration again, for a reload. Blocks.
pub(crate) type ReadConfig = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

type ReloadReply = oneshot::Sender<Result<ReloadReport, Arc<ConfigError>>>;
type TrustReply = oneshot::Sender<Result<Trusted, TrustError>>;

/// Owns the tasks of all plugins.
pub(crate) struct Manager {
    host: Arc<Host>,
    registry: Arc<Registry>,
    settings: Arc<Current>,
    read_config: ReadConfig,
    requests: mpsc::Receiver<Request>,
    plugins: BTreeMap<PluginName, CommandSender>,
    /// The executables that the last look at the disk found.
    sources: Sources,
    tasks: JoinSet<(PluginName, Vec<Arrival>)>,
    work: JoinSet<Done>,
    /// Whether a look at the disk is under way.
    is_looking: bool,
    /// Reloads that wait for the look after this one.
    reloads: Vec<ReloadReply>,
    /// Whether something changed on disk since the look under way began.
    has_changed: bool,
    watcher: Option<FileWatcher>,
    looker: Arc<Looker>,
    /// What the last look skipped.
    problems: Vec<String>,
    /// What the last look found and is probably a mistake.
    warnings: Vec<String>,
}

/// Work that took time and is done.
enum Done {
    Looked(Looked, Vec<ReloadReply>),
    Hashed(PluginName, Result<Checksum, LaunchError>, TrustReply),
    Nothing,
}

impl Manager {
    pub(crate) fn new(
        host: Arc<Host>,
        registry: Arc<Registry>,
        settings: Arc<Current>,
        read_config: ReadConfig,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let memory = Arc::clone(&host.memory);
        Self {
            host,
            registry,
            settings,
            read_config,
            requests,
            plugins: BTreeMap::new(),
            sources: Sources::new(),
            tasks: JoinSet::new(),
            work: JoinSet::new(),
            is_looking: false,
            reloads: Vec::new(),
            has_changed: false,
            watcher: None,
            looker: Looker::new(memory),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Sets how a reload reads the configuration.
    pub(crate) fn set_read_config(&mut self, read_config: ReadConfig) {
        self.read_config = read_config;
    }

    /// Starts every plugin that is found, and logs what is passed over. Every plugin is known when this returns.
    pub(crate) async fn start(&mut self) {
        self.start_watching();
        let settings = self.settings.load();
        let config = settings.config.clone();
        let looker = Arc::clone(&self.looker);
        let found = tokio::task::spawn_blocking(move || looker.find(&config)).await;
        match found {
            Ok(found) => self.take_over(found, &settings),
            Err(error) => tracing::error!(%error, "plugin directories not read"),
        }
        for problem in &self.problems {
            tracing::error!("{problem}");
        }
        for warning in self.all_warnings(&settings) {
            tracing::warn!("{warning}");
        }
    }

    /// What of settings and files is probably a mistake.
    fn all_warnings(&self, settings: &Settings) -> Vec<String> {
        let snapshot = self.registry.snapshot();
        let mut warnings = look::warnings(settings, &self.sources, &snapshot, &self.host.memory);
        warnings.extend(self.warnings.iter().cloned());
        warnings
    }

    fn start_watching(&mut self) {
        let settings = self.settings.load();
        let config = &settings.config;
        if !config.watch {
            return;
        }
        let directories = look::directories(config);
        // The old watcher is dropped first: there may be no descriptor for two.
        self.watcher = None;
        match FileWatcher::start(&directories) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "file watcher not started: run `keyway plugins reload` after a change of plugins");
            }
        }
    }

    /// Serves requests until `stop` resolves, then stops all plugins at the same time.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(request) = self.requests.recv() => self.serve(request),
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                Some(done) = self.work.join_next() => self.work_done(done),
                changed = changed(&mut self.watcher) => self.disk_changed(changed),
            }
        }
        for commands in self.plugins.values() {
            // A plugin whose task has ended is stopped.
            let _ = commands.send(Command::Stop);
        }
        while let Some(ended) = self.tasks.join_next().await {
            report_panic(&ended);
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Reload(reply) => {
                self.reloads.push(reply);
                self.look();
            }
            Request::Trust(name, reply) => self.trust(name, reply),
            Request::Untrust(name, reply) => {
                let result = self.untrust(&name);
                self.reply_when_written(reply, result);
            }
            Request::SetEnabled(name, enabled, reply) => self.set_enabled(name, enabled, reply),
            Request::Connect(registrant, peer) => self.connect(*registrant, peer),
        }
    }

    fn task_ended(&mut self, ended: Result<(PluginName, Vec<Arrival>), tokio::task::JoinError>) {
        report_panic(&ended);
        let Ok((name, arrivals)) = ended else {
            return;
        };
        // A plugin that returned may have a new task already.
        if self.plugins.get(&name).is_none_or(CommandSender::is_closed) {
            self.plugins.remove(&name);
            let settings = self.settings.load();
            let update = self.update_of(&settings, &name);
            if update.source.is_some() || update.settings.is_configured {
                self.add(name, update);
            }
        }
        for (registrant, peer) in arrivals {
            self.connect(registrant, peer);
        }
    }

    fn work_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Looked(looked, replies)) => self.looked(looked, replies),
            Ok(Done::Hashed(name, result, reply)) => {
                let result = self.hashed(name, result);
                self.reply_when_written(reply, result);
            }
            Ok(Done::Nothing) => {}
            Err(error) => {
                tracing::error!(%error, "task of the plugin manager panicked");
                self.is_looking = false;
            }
        }
    }

    fn update_of(&self, settings: &Settings, name: &PluginName) -> Update {
        Update {
            settings: settings.plugin(name),
            is_pinning: settings.is_pinning,
            source: self.sources.get(name).cloned(),
        }
    }

    fn add(&mut self, name: PluginName, update: Update) -> CommandSender {
        let (task, commands) = PluginTask::new(name.clone(), Arc::clone(&self.host), update);
        self.plugins.insert(name.clone(), commands.clone());
        self.tasks.spawn(async move {
            let arrivals = task.run().await;
            (name, arrivals)
        });
        commands
    }
}

/// Resolves when something that matters has changed on disk; never, if nothing is watched.
async fn changed(watcher: &mut Option<FileWatcher>) -> io::Result<()> {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => pending().await,
    }
}

fn report_panic<T>(ended: &Result<T, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "task of a plugin panicked: the plugin is not available until the daemon is restarted");
    }
}
