//! Which plugins there should be: found at the start, and brought up to date by reloads, commands and changes on disk.
//!
//! The manager owns the tasks of all plugins. It starts work that can take time and never waits for it.

mod external;
mod handle;
mod look;
mod reconcile;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::look::{Found, Looked, Looker};
use self::reconcile::Sources;
use crate::config::{Config, ConfigError, Current, Difference, Settings};
use crate::identity::Peer;
use crate::launch::{Checksum, LaunchError, checksum};
use crate::model::{Class, PluginName};
use crate::plugin::{
    Availability, Command, CommandSender, Host, PluginTask, Registrant, RegistrationError, Update,
};
use crate::registry::Registry;
use crate::state::Memory;
use crate::trust::TrustError;
use crate::watch::Watch;

pub use self::handle::{ManagerHandle, Trusted};
pub(crate) use self::handle::{Request, SetEnabledError};
pub use self::report::ReloadReport;

/// Reads the configuration again, for a reload. Blocks.
pub(crate) type ReadConfig = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// How long a reply waits for the state file.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

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
    tasks: JoinSet<PluginName>,
    work: JoinSet<Done>,
    /// Whether a look at the disk is under way.
    is_looking: bool,
    /// Reloads that wait for the look after this one.
    reloads: Vec<ReloadReply>,
    /// Whether something changed on disk since the look under way began.
    has_changed: bool,
    watch: Option<Watch>,
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
            watch: None,
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
            Err(error) => tracing::error!(%error, "the plugin directories cannot be read"),
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
        // The old watch is dropped first: there may be no descriptor for two.
        self.watch = None;
        match Watch::start(&directories) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                tracing::warn!("{error}: run `keyway plugins reload` after a change of plugins");
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
                changed = changed(&mut self.watch) => self.disk_changed(changed),
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

    fn task_ended(&mut self, ended: Result<PluginName, tokio::task::JoinError>) {
        report_panic(&ended);
        let Ok(name) = ended else {
            return;
        };
        self.plugins.remove(&name);
        let settings = self.settings.load();
        let update = self.update_of(&settings, &name);
        if update.source.is_some() || update.settings.is_configured {
            self.add(name, update);
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
                tracing::error!(%error, "work of the plugin manager failed");
                self.is_looking = false;
            }
        }
    }

    // Looking at the disk.

    /// Begins a look at the disk, for all reloads that wait, unless one is under way.
    fn look(&mut self) {
        if self.is_looking {
            return;
        }
        self.is_looking = true;
        self.has_changed = false;
        let replies = std::mem::take(&mut self.reloads);
        let read_config = (!replies.is_empty()).then(|| Arc::clone(&self.read_config));
        let config = self.settings.load().config.clone();
        let looker = Arc::clone(&self.looker);
        self.work.spawn_blocking(move || {
            Done::Looked(looker.look(read_config.as_ref(), config), replies)
        });
    }

    fn disk_changed(&mut self, changed: io::Result<()>) {
        if let Err(error) = changed {
            tracing::warn!(%error, "changes of plugins are not noticed for now");
        }
        // Begun before the look, so that no change falls between the two.
        self.start_watching();
        self.has_changed = true;
        self.look();
    }

    fn looked(&mut self, looked: Looked, replies: Vec<ReloadReply>) {
        self.is_looking = false;
        match looked {
            Looked::Failed(error) => {
                tracing::error!("reload failed, the old configuration stays in force: {error}");
                let error = Arc::new(error);
                for reply in replies {
                    let _ = reply.send(Err(Arc::clone(&error)));
                }
            }
            Looked::Found { config, found } => {
                self.found(config.map(|config| *config), found, replies)
            }
        }
        if !self.reloads.is_empty() || self.has_changed {
            self.look();
        }
    }

    /// Puts what was found into force and reports the difference.
    fn found(&mut self, config: Option<Config>, found: Found, replies: Vec<ReloadReply>) {
        let old = self.settings.load();
        let old_sources = self.sources.clone();
        let (old_problems, old_warnings) = (self.problems.clone(), self.warnings.clone());
        let is_reload = config.is_some();
        let settings = match config {
            Some(config) => self.reconfigure(config, &old),
            None => Arc::clone(&old),
        };
        self.take_over(found, &settings);
        let mut report = ReloadReport::default();
        let snapshot = self.registry.snapshot();
        let is_running = |name: &PluginName| {
            snapshot.get(name).is_some_and(|view| {
                matches!(
                    view.availability,
                    Availability::Running(_) | Availability::Starting { .. }
                )
            })
        };
        reconcile::compare(
            &mut report,
            (&old, &old_sources),
            (&settings, &self.sources),
            is_running,
        );
        if is_reload {
            let difference = Difference::between(&old, &settings);
            (report.changed, report.needs_restart) = (difference.changed, difference.needs_restart);
            report.warnings = self.all_warnings(&settings);
            report.problems.clone_from(&self.problems);
        } else {
            report.problems = new_in(&self.problems, &old_problems);
            report.warnings = new_in(&self.warnings, &old_warnings);
        }
        for problem in new_in(&self.problems, &old_problems) {
            tracing::error!("{problem}");
        }
        for warning in new_in(&self.warnings, &old_warnings) {
            tracing::warn!("{warning}");
        }
        if report != ReloadReport::default() {
            tracing::info!(?report, "plugins brought up to date");
        }
        self.reply_when_settled(report, replies);
    }

    /// Puts another configuration into force.
    fn reconfigure(&mut self, config: Config, old: &Settings) -> Arc<Settings> {
        let dirs_changed = look::directories(&config) != look::directories(&old.config);
        if config.audit != old.config.audit {
            self.host.audit.configure(config.audit.clone());
        }
        let settings = self.put_into_force(config);
        if dirs_changed {
            self.start_watching();
        }
        for commands in self.plugins.values() {
            let _ = commands.send(Command::ForgetResponses);
        }
        settings
    }

    /// Resolves the settings anew and applies them to every view at once.
    fn put_into_force(&mut self, config: Config) -> Arc<Settings> {
        let generation = self.settings.generation() + 1;
        let settings = Settings::new(config, &self.host.memory.state(), generation);
        let settings = Arc::new(settings);
        // In this order, a query that sees the old generation is judged again, and none sees old views with the new one.
        self.registry.apply(&settings);
        self.settings.store(Arc::clone(&settings));
        settings
    }

    /// Makes the plugins those that were found.
    fn take_over(&mut self, found: Found, settings: &Arc<Settings>) {
        self.sources = found.sources;
        self.problems = found.problems;
        self.warnings = found.warnings;
        self.bring_up_to_date(settings);
    }

    fn bring_up_to_date(&mut self, settings: &Arc<Settings>) {
        let known: BTreeSet<PluginName> = self.plugins.keys().cloned().collect();
        for (name, update) in reconcile::updates(settings, &self.sources, &known) {
            match self.plugins.get(&name) {
                Some(commands) => {
                    let _ = commands.send(Command::Update(update));
                }
                None => drop(self.add(name, update)),
            }
        }
        self.judge_external(settings);
    }

    /// Ends the connections of external plugins that the settings do not admit any more.
    fn judge_external(&self, settings: &Settings) {
        let snapshot = self.registry.snapshot();
        let external = snapshot
            .values()
            .filter(|view| view.class == Class::External && view.handle().is_some());
        for view in external {
            if let Err(error) = external::admit(settings, &view.name)
                && let Some(commands) = self.plugins.get(&view.name)
            {
                let _ = commands.send(Command::Disconnect(error));
            }
        }
    }

    /// Replies when the plugins that were added or restarted have registered or failed.
    fn reply_when_settled(&mut self, report: ReloadReport, replies: Vec<ReloadReply>) {
        if replies.is_empty() {
            return;
        }
        let changed = report.added.iter().chain(&report.restarted);
        let settled: Vec<oneshot::Receiver<()>> = changed
            .filter_map(|name| self.plugins.get(name))
            .map(|commands| {
                let (done, settled) = oneshot::channel();
                let _ = commands.send(Command::Settle(done));
                settled
            })
            .collect();
        self.work.spawn(async move {
            // Each start is bounded; a task that ends settles as well.
            futures::future::join_all(settled).await;
            for reply in replies {
                let _ = reply.send(Ok(report.clone()));
            }
            Done::Nothing
        });
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
            task.run().await;
            name
        });
        commands
    }

    // Commands of users.

    fn set_enabled(
        &mut self,
        name: PluginName,
        enabled: bool,
        reply: oneshot::Sender<Result<(), SetEnabledError>>,
    ) {
        let settings = self.settings.load();
        if !enabled && settings.plugin(&name).is_listed_module {
            let _ = reply.send(Err(SetEnabledError::Listed(name)));
            return;
        }
        let Some(commands) = self.plugins.get(&name) else {
            // An external plugin that was disabled and is not connected.
            let is_disabled = self.host.memory.plugin(&name).decision() == Some(false);
            let result = if enabled && is_disabled {
                self.host
                    .memory
                    .remember(&name, |plugin| plugin.set_decision(None));
                Ok(())
            } else {
                Err(SetEnabledError::Unknown(name))
            };
            self.reply_when_written(reply, result);
            return;
        };
        tracing::info!(plugin = %name, enabled, "plugin enabled or disabled");
        if enabled {
            let (done, finished) = oneshot::channel();
            let _ = commands.send(Command::Enable(done));
            let memory = Arc::clone(&self.host.memory);
            self.work.spawn(async move {
                let result = finished.await.unwrap_or(Ok(()));
                written(&memory).await;
                let _ = reply.send(result.map_err(SetEnabledError::from));
                Done::Nothing
            });
        } else {
            let (done, finished) = oneshot::channel();
            let _ = commands.send(Command::Disable(done));
            let memory = Arc::clone(&self.host.memory);
            self.work.spawn(async move {
                // A task that has ended has nothing left to disable.
                let _ = finished.await;
                written(&memory).await;
                let _ = reply.send(Ok(()));
                Done::Nothing
            });
        }
    }

    /// Replies when what changed is on disk, so that it outlives the daemon.
    fn reply_when_written<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, result: T) {
        let memory = Arc::clone(&self.host.memory);
        self.work.spawn(async move {
            written(&memory).await;
            // The caller may have stopped waiting.
            let _ = reply.send(result);
            Done::Nothing
        });
    }

    fn trust(&mut self, name: PluginName, reply: TrustReply) {
        let settings = self.settings.load();
        let path = match self.trustable(&settings, &name) {
            Ok(path) => path,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.work
            .spawn(async move { Done::Hashed(name, checksum(&path).await, reply) });
    }

    fn trustable(
        &self,
        settings: &Settings,
        name: &PluginName,
    ) -> Result<std::path::PathBuf, TrustError> {
        let name = name.clone();
        let Some(source) = self.sources.get(&name) else {
            return Err(TrustError::Unknown { name });
        };
        if source.is_built_in {
            return Err(TrustError::Bundled { name });
        }
        if settings.config.plugin(&name).sha256.is_some() {
            return Err(TrustError::Configured { name });
        }
        Ok(source.executable.clone())
    }

    fn hashed(
        &mut self,
        name: PluginName,
        result: Result<Checksum, LaunchError>,
    ) -> Result<Trusted, TrustError> {
        let settings = self.settings.load();
        // The configuration may have changed while the file was read.
        self.trustable(&settings, &name)?;
        let checksum = result?;
        let trusted = Trusted {
            sha256: checksum.sha256,
            interpreter: checksum.interpreter,
        };
        tracing::info!(plugin = %name, sha256 = %trusted.sha256, "executable trusted");
        self.host
            .memory
            .remember(&name, |plugin| plugin.trusted = Some(trusted.sha256));
        self.resettle(&name);
        Ok(trusted)
    }

    fn untrust(&mut self, name: &PluginName) -> Result<(), TrustError> {
        let settings = self.settings.load();
        if settings.config.plugin(name).sha256.is_some() {
            return Err(TrustError::Configured { name: name.clone() });
        }
        if self.host.memory.plugin(name).trusted.is_none() {
            return Err(TrustError::NotTrusted { name: name.clone() });
        }
        tracing::info!(plugin = %name, "pin taken back");
        self.host
            .memory
            .remember(name, |plugin| plugin.trusted = None);
        self.resettle(name);
        Ok(())
    }

    /// Follows a change of pins, which may concern every plugin, and tries `name` again.
    fn resettle(&mut self, name: &PluginName) {
        let config = self.settings.load().config.clone();
        let settings = self.put_into_force(config);
        self.bring_up_to_date(&settings);
        if let Some(commands) = self.plugins.get(name) {
            let _ = commands.send(Command::Retry);
        }
    }

    // External plugins.

    fn connect(&mut self, registrant: Registrant, peer: Arc<Peer>) {
        let settings = self.settings.load();
        let name = registrant.registration().name.clone();
        if let Err(error) = external::admit(&settings, &name) {
            self.refuse(registrant, &peer, error);
            return;
        }
        let update = self.update_of(&settings, &name);
        let commands = match self.plugins.get(&name) {
            Some(commands) => commands.clone(),
            None => self.add(name, update),
        };
        let _ = commands.send(Command::Connect {
            registrant: Box::new(registrant),
            peer,
        });
    }

    fn refuse(&mut self, registrant: Registrant, peer: &Arc<Peer>, error: RegistrationError) {
        let name = &registrant.registration().name;
        tracing::warn!(plugin = %name, pid = peer.pid(), %error, "external plugin refused");
        self.host
            .audit
            .plugin("refuse", name, Some(peer), &error.to_string());
        self.work.spawn(async move {
            registrant.refuse(error).await;
            Done::Nothing
        });
    }
}

/// Waits until what is remembered is on disk. A disk that hangs does not hold up the reply for ever.
async fn written(memory: &Memory) {
    if tokio::time::timeout(WRITE_LIMIT, memory.flush())
        .await
        .is_err()
    {
        tracing::error!("state file not written within {WRITE_LIMIT:?}");
    }
}

/// What of `now` was not in `before`.
fn new_in(now: &[String], before: &[String]) -> Vec<String> {
    let is_new = |text: &&String| !before.contains(text);
    now.iter().filter(is_new).cloned().collect()
}

/// Resolves when something that matters has changed on disk; never, if nothing is watched.
async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

fn report_panic<T>(ended: &Result<T, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a plugin failed: it does not work until the daemon is started again");
    }
}
