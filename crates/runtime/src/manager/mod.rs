//! The set of plugins: found at the start, and updated by reloads, commands and changes on disk.
//!
//! The manager owns the tasks of all plugins. It starts work that can take time and never waits for it.

mod changes;
mod commands;
mod discovery;
mod disk;
mod external;
mod handle;
mod reconcile;
mod report;
mod scan;
mod trust;
mod watcher;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::changes::DiskChanges;
use self::reconcile::Sources;
use self::scan::{ScanResult, Scanner};
use crate::config::{Config, ConfigError, Current, Settings};
use crate::launch::{Checksum, LaunchError};
use crate::model::PluginName;
use crate::plugin::{Arrival, Command, CommandSender, Host, PluginTask, Update};
use crate::registry::{Discovery, Registry};
use crate::wait::until;

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
    /// The executables that the last scan found.
    sources: Sources,
    tasks: JoinSet<(PluginName, Vec<Arrival>)>,
    work: JoinSet<Done>,
    /// The running scan.
    scan: Option<RunningScan>,
    /// `true` once a scan was complete.
    has_found: bool,
    /// Reloads that wait for the scan after this one.
    reloads: Vec<ReloadReply>,
    /// `true` if something changed on disk since the running scan began.
    has_changed: bool,
    /// With the scan, while one runs.
    changes: DiskChanges,
    scanner: Arc<Scanner>,
    /// Files that the last scan skipped.
    problems: Vec<String>,
    /// Probable mistakes that the last scan found.
    warnings: Vec<String>,
}

/// A running scan.
struct RunningScan {
    /// The reloads that wait for it.
    replies: Vec<ReloadReply>,
    /// The time when they have waited too long; `None` after that.
    overdue_at: Option<Instant>,
}

/// Work that took time and is done.
enum Done {
    Scanned(ScanResult, DiskChanges),
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
            scan: None,
            has_found: false,
            reloads: Vec::new(),
            has_changed: false,
            changes: DiskChanges::new(),
            scanner: Scanner::new(memory),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Sets how a reload reads the configuration.
    pub(crate) fn set_read_config(&mut self, read_config: ReadConfig) {
        self.read_config = read_config;
    }

    /// Starts every plugin that is found, and logs the files that are skipped. Every plugin is known when this returns, unless the
    /// disk hangs: that is logged, and they are started when it responds.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no finding is lost.
    pub(crate) async fn start(&mut self) {
        self.start_scan();
        while let Some(RunningScan { overdue_at, .. }) = self.scan {
            tokio::select! {
                Some(done) = self.work.join_next() => self.work_done(done),
                () = until(overdue_at) => {
                    self.registry.set_discovery(Discovery::Overdue);
                    return self.scan_overdue();
                }
            }
        }
        // Also after a scan that panicked: the next reload scans again.
        self.registry.set_discovery(Discovery::Complete);
    }

    /// Returns the probable mistakes in settings and files.
    fn all_warnings(&self, settings: &Settings) -> Vec<String> {
        let snapshot = self.registry.snapshot();
        let mut warnings = scan::warnings(settings, &self.sources, &snapshot, &self.host.memory);
        warnings.extend(self.warnings.iter().cloned());
        warnings
    }

    /// Serves requests until `stop` resolves, then stops all plugins at the same time.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let overdue_at = self.scan.as_ref().and_then(|scan| scan.overdue_at);
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(request) = self.requests.recv() => self.serve(request),
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                Some(done) = self.work.join_next() => self.work_done(done),
                () = until(overdue_at) => self.scan_overdue(),
                () = self.changes.changed(), if self.scan.is_none() => self.disk_changed(),
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
            Request::Reload(reply) => self.reload(reply),
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
            Ok(Done::Scanned(result, changes)) => {
                self.changes = changes;
                self.scanned(result);
            }
            Ok(Done::Hashed(name, result, reply)) => {
                let result = self.hashed(name, result);
                self.reply_when_written(reply, result);
            }
            Ok(Done::Nothing) => {}
            Err(error) => {
                tracing::error!(%error, "task of the plugin manager panicked");
                self.scan = None;
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

fn report_panic<T>(ended: &Result<T, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "task of a plugin panicked: the plugin is not available until the daemon is restarted");
    }
}
