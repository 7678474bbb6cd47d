//! Which plugins there should be: started at the beginning, and brought up to date by a reload.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError, Sha256};
use crate::discovery::{Copies, discover};
use crate::engine::Engine;
use crate::launch::checksum;
use crate::name::PluginName;
use crate::plugin::{COMMAND_QUEUE, Command, Fingerprint, LaunchSource, LaunchedPlugin};
use crate::registry::Origin;
use crate::trust::{self, TrustError};
use crate::watch::Watch;

/// Reads the configuration again, for a reload.
pub(crate) type ReadConfig = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Plugins that are new.
    pub added: Vec<PluginName>,
    /// Plugins that are gone.
    pub removed: Vec<PluginName>,
    /// Plugins that got a fresh process, because their file or settings changed.
    pub restarted: Vec<PluginName>,
    /// What could not be done, a sentence each.
    pub problems: Vec<String>,
}

/// What the manager can be asked for.
pub(crate) enum Request {
    Reload(oneshot::Sender<Result<ReloadReport, ConfigError>>),
    Trust(PluginName, oneshot::Sender<Result<Sha256, TrustError>>),
}

/// Asks the daemon to reload. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ManagerHandle(mpsc::Sender<Request>);

impl ManagerHandle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        // One request at a time; a second one waits.
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Reads the configuration and the plugin directories again and brings the plugins up to date. `None` when the daemon has
    /// stopped.
    ///
    /// # Errors
    ///
    /// When the configuration holds an error; then the old one stays in force and nothing changes.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a reload that has begun goes on.
    pub async fn reload(&self) -> Option<Result<ReloadReport, ConfigError>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request::Reload(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Trusts the executable that a launched plugin has now, and starts it. `None` when the daemon has stopped.
    ///
    /// # Errors
    ///
    /// When there is nothing to trust, configuration decides, or the file cannot be read; nothing changes then.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what has begun goes on.
    pub async fn trust(&self, name: PluginName) -> Option<Result<Sha256, TrustError>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request::Trust(name, reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Owns the tasks of the launched plugins.
pub(crate) struct Manager {
    engine: Arc<Engine>,
    read_config: ReadConfig,
    requests: mpsc::Receiver<Request>,
    /// What each launched plugin was started from.
    sources: BTreeMap<PluginName, LaunchSource>,
    /// Plugins that came back while their former process had not ended yet.
    returning: BTreeMap<PluginName, LaunchSource>,
    tasks: JoinSet<()>,
    watch: Option<Watch>,
    /// The comparisons of plugin files.
    copies: Copies,
    /// What was passed over when it was looked last.
    problems: Vec<String>,
}

impl Manager {
    pub(crate) fn new(
        engine: Arc<Engine>,
        read_config: ReadConfig,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self {
            engine,
            read_config,
            requests,
            sources: BTreeMap::new(),
            returning: BTreeMap::new(),
            tasks: JoinSet::new(),
            watch: None,
            copies: Copies::default(),
            problems: Vec::new(),
        }
    }

    /// Sets how a reload reads the configuration.
    pub(crate) fn set_read_config(&mut self, read_config: ReadConfig) {
        self.read_config = read_config;
    }

    /// Starts every plugin that is found, and logs what was passed over.
    pub(crate) fn start(&mut self) {
        let sources = self.look();
        for problem in &self.problems {
            tracing::error!("{problem}");
        }
        for (name, source) in sources {
            self.add(name, source);
        }
    }

    /// The plugins that the configuration asks for now. What changes later is noticed, and what was passed over kept.
    fn look(&mut self) -> BTreeMap<PluginName, LaunchSource> {
        let config = self.engine.config();
        let directories: Vec<PathBuf> = config
            .available_dirs
            .iter()
            .chain(&config.plugin_dirs)
            .cloned()
            .collect();
        let watched = config.watch.then(|| Watch::start(&directories));
        self.watch = watched.and_then(|watch| {
            watch
                .inspect_err(|error| {
                    tracing::warn!("{error}: run `keyway plugins reload` after a change of plugins")
                })
                .ok()
        });
        let (sources, problems) = wanted(&self.engine, &mut self.copies);
        self.problems = problems;
        sources
    }

    /// Serves reloads until `stop` resolves, then stops all plugins, also those that were started by hand, at the same time.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(request) = self.requests.recv() => self.serve(request).await,
                Some(ended) = self.tasks.join_next() => {
                    report_panic(ended);
                    self.start_returning();
                }
                changed = changed(&mut self.watch) => self.follow(changed).await,
            }
        }
        for (_, control) in self.engine.controls.all() {
            // A plugin whose task has ended is stopped.
            let _ = control.send(Command::Stop).await;
        }
        while let Some(ended) = self.tasks.join_next().await {
            report_panic(ended);
        }
    }

    async fn serve(&mut self, request: Request) {
        // Whoever asked may have stopped waiting.
        match request {
            Request::Reload(reply) => {
                let _ = reply.send(self.reload().await);
            }
            Request::Trust(name, reply) => {
                let _ = reply.send(self.trust(name).await);
            }
        }
    }

    async fn trust(&mut self, name: PluginName) -> Result<Sha256, TrustError> {
        let config = self.engine.config();
        let Some(source) = self.sources.get(&name) else {
            return Err(TrustError::Unknown { name });
        };
        if config
            .bundled
            .iter()
            .any(|bundled| bundled.name == name && bundled.executable == source.executable)
        {
            return Err(TrustError::Bundled { name });
        }
        if config.plugin(&name).sha256.is_some() {
            return Err(TrustError::Configured { name });
        }
        let path = source.executable.clone();
        let checksum = checksum(&path).await?.sha256;
        self.engine.trust(&name, checksum);
        tracing::info!(plugin = %name, %checksum, "executable trusted");
        let source = found(&self.engine, &config, &name, path);
        self.bring_up_to_date(name, source, &mut ReloadReport::default())
            .await;
        Ok(checksum)
    }

    fn add(&mut self, name: PluginName, source: LaunchSource) {
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let mut plugin = LaunchedPlugin::new(
            name.clone(),
            Arc::clone(&self.engine),
            source.clone(),
            commands,
        );
        self.engine.controls.insert(name.clone(), sender);
        plugin.prepare();
        self.sources.insert(name, source);
        self.tasks.spawn(plugin.run());
    }

    async fn reload(&mut self) -> Result<ReloadReport, ConfigError> {
        let config = (self.read_config)()?;
        let mut report = ReloadReport::default();
        let old = self.engine.config();
        if (&config.listen, &config.listen_also) != (&old.listen, &old.listen_also) {
            report
                .problems
                .push("a change of `listen` takes effect when the daemon is started again".into());
        }
        self.engine.set_config(config);
        self.update(&mut report).await;
        report.problems.extend(self.problems.iter().cloned());
        self.configure_manual().await;
        for handle in self
            .engine
            .registry
            .snapshot()
            .values()
            .filter_map(|entry| entry.handle())
        {
            handle.forget_answers();
        }
        tracing::info!(?report, "reloaded");
        Ok(report)
    }

    /// Follows a change in the plugin directories; the configuration stays what it is.
    async fn follow(&mut self, changed: io::Result<()>) {
        if let Err(error) = changed {
            tracing::warn!(%error, "changes of plugins are not noticed for now");
        }
        let known = std::mem::take(&mut self.problems);
        let mut report = ReloadReport::default();
        self.update(&mut report).await;
        let new = self
            .problems
            .iter()
            .filter(|problem| !known.contains(problem));
        report.problems.extend(new.cloned());
        for problem in &report.problems {
            tracing::error!("{problem}");
        }
        if report != ReloadReport::default() {
            tracing::info!(?report, "the plugins on disk have changed");
        }
    }

    /// Makes the plugins those that are wanted.
    async fn update(&mut self, report: &mut ReloadReport) {
        let wanted = self.look();
        self.remove_missing(&wanted, report).await;
        for (name, source) in wanted {
            self.bring_up_to_date(name, source, report).await;
        }
    }

    /// Starts the plugins that waited for the end of their former process.
    fn start_returning(&mut self) {
        let known = self.engine.registry.snapshot();
        let (waiting, free) = std::mem::take(&mut self.returning)
            .into_iter()
            .partition(|(name, _)| known.contains_key(name));
        self.returning = waiting;
        let free: BTreeMap<_, _> = free;
        for (name, source) in free {
            self.add(name, source);
        }
    }

    async fn remove_missing(
        &mut self,
        wanted: &BTreeMap<PluginName, LaunchSource>,
        report: &mut ReloadReport,
    ) {
        self.returning.retain(|name, _| wanted.contains_key(name));
        let missing: Vec<PluginName> = self
            .sources
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for name in missing {
            self.sources.remove(&name);
            self.send(&name, Command::Stop).await;
            self.engine.controls.remove(&name);
            report.removed.push(name);
        }
    }

    async fn bring_up_to_date(
        &mut self,
        name: PluginName,
        source: LaunchSource,
        report: &mut ReloadReport,
    ) {
        let Some(old) = self.sources.get(&name) else {
            match self.engine.registry.snapshot().get(&name) {
                None => {
                    self.add(name.clone(), source);
                    report.added.push(name);
                }
                Some(entry) if entry.origin == Origin::Manual => {
                    report.problems.push(format!(
                        "{name} is not launched while a plugin of that name, started by hand, runs"
                    ));
                }
                Some(_) => {
                    if self.returning.insert(name.clone(), source).is_none() {
                        report.added.push(name);
                    }
                }
            }
            return;
        };
        if *old == source {
            return;
        }
        if old.needs_fresh_process(&source) {
            report.restarted.push(name.clone());
        }
        self.sources.insert(name.clone(), source.clone());
        self.send(&name, Command::Replace(Box::new(source))).await;
    }

    /// Plugins that were started by hand have settings too.
    async fn configure_manual(&self) {
        let config = self.engine.config();
        for entry in self.engine.registry.snapshot().values() {
            if entry.origin == Origin::Manual {
                self.send(
                    &entry.name,
                    Command::Configure(Arc::new(config.plugin(&entry.name))),
                )
                .await;
            }
        }
    }

    async fn send(&self, name: &PluginName, command: Command) {
        if let Some(control) = self.engine.controls.get(name) {
            // A task that has ended needs no command.
            let _ = control.send(command).await;
        }
    }
}

/// Resolves when something that matters has changed on disk; never, where nothing is watched.
async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a plugin failed: that plugin is out of order until the daemon is started again");
    }
}

/// The plugins that the configuration asks for, and what was passed over.
fn wanted(
    engine: &Engine,
    copies: &mut Copies,
) -> (BTreeMap<PluginName, LaunchSource>, Vec<String>) {
    let config = &*engine.config();
    let discovery = discover(config, |name| engine.is_chosen(name), copies);
    for warning in &discovery.warnings {
        tracing::warn!("{warning}");
    }
    let problems: Vec<String> = discovery.problems.iter().map(ToString::to_string).collect();
    let mut sources = BTreeMap::new();
    for (name, executable) in discovery.plugins {
        let source = found(engine, config, &name, executable);
        sources.insert(name, source);
    }
    for bundled in &config.bundled {
        sources
            .entry(bundled.name.clone())
            .or_insert_with(|| LaunchSource {
                executable: bundled.executable.clone(),
                argv0: bundled.argv0.clone(),
                fingerprint: Fingerprint::of(&bundled.executable),
                config: Arc::new(config.plugin(&bundled.name)),
                pass_env: bundled.pass_env.clone(),
                may_start: true,
            });
    }
    (sources, problems)
}

/// An executable of a plugin directory, with what configuration and persons have said about it.
fn found(engine: &Engine, config: &Config, name: &PluginName, executable: PathBuf) -> LaunchSource {
    let (settings, may_start) = trust::settings(config, name, engine.trusted(name));
    LaunchSource {
        argv0: executable.as_os_str().to_owned(),
        fingerprint: Fingerprint::of(&executable),
        config: Arc::new(settings),
        may_start,
        // Who replaces a bundled plugin needs what that would have got.
        pass_env: bundled_variables(config, name),
        executable,
    }
}

fn bundled_variables(config: &Config, name: &PluginName) -> Vec<String> {
    let bundled = config.bundled.iter().find(|bundled| bundled.name == *name);
    bundled
        .map(|bundled| bundled.pass_env.clone())
        .unwrap_or_default()
}
