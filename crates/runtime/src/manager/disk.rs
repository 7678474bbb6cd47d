//! Reloads and changes on disk: a scan of files and configuration, and the steps that follow from it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::with_causes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::changes::DiskChanges;
use super::scan::{Found, ScanResult};
use super::{Done, Manager, ReloadReply, ReloadReport, RunningScan, external, reconcile};
use crate::config::{Config, ConfigError, Difference, Settings};
use crate::model::PluginName;
use crate::plugin::{Availability, Command};
use crate::registry::Discovery;

/// Limit for reading the files. They are read in milliseconds, unless a file system hangs.
const SCAN_LIMIT: Duration = Duration::from_secs(10);

impl Manager {
    /// Starts a reload. Behind a scan that hangs it fails at once.
    pub(super) fn reload(&mut self, reply: ReloadReply) {
        if matches!(&self.scan, Some(scan) if scan.overdue_at.is_none()) {
            return fail([reply], ConfigError::TimedOut { limit: SCAN_LIMIT });
        }
        self.reloads.push(reply);
        self.start_scan();
    }

    /// Begins a scan, for all reloads that wait, unless one runs.
    pub(super) fn start_scan(&mut self) {
        if self.scan.is_some() {
            return;
        }
        self.has_changed = false;
        let replies = std::mem::take(&mut self.reloads);
        let read_config = (!replies.is_empty()).then(|| Arc::clone(&self.read_config));
        self.scan = Some(RunningScan {
            replies,
            overdue_at: Some(Instant::now() + SCAN_LIMIT),
        });
        let config = self.settings.load().config.clone();
        let scanner = Arc::clone(&self.scanner);
        let mut changes = std::mem::replace(&mut self.changes, DiskChanges::new());
        self.work.spawn_blocking(move || {
            let result = scanner.scan(read_config.as_ref(), config, &mut changes);
            Done::Scanned(result, changes)
        });
    }

    /// The running scan takes too long: the reloads that wait for it fail. The thread that scans cannot be stopped.
    pub(super) fn scan_overdue(&mut self) {
        let Some(scan) = &mut self.scan else {
            return;
        };
        scan.overdue_at = None;
        let replies = scan.replies.drain(..).chain(self.reloads.drain(..));
        let error = ConfigError::TimedOut { limit: SCAN_LIMIT };
        tracing::error!(%error, "scan of the plugin directories overdue: plugins are started, stopped and replaced when the disk responds");
        fail(replies, error);
    }

    pub(super) fn disk_changed(&mut self) {
        self.has_changed = true;
        self.start_scan();
    }

    pub(super) fn scanned(&mut self, result: ScanResult) {
        let Some(RunningScan {
            replies,
            overdue_at,
        }) = self.scan.take()
        else {
            return;
        };
        match result {
            ScanResult::Failed(error) => {
                tracing::error!(error = %with_causes(&error), "reload failed; the former configuration stays in force");
                fail(replies, error);
            }
            // Its reload has failed, so the former configuration stays in force.
            ScanResult::Found {
                config: Some(_), ..
            } if overdue_at.is_none() => {
                self.has_changed = true;
            }
            ScanResult::Found { config, found } => {
                self.found(config.map(|config| *config), found, replies)
            }
        }
        if !self.reloads.is_empty() || self.has_changed {
            self.start_scan();
        }
    }

    /// Puts the findings into force and reports the difference.
    fn found(&mut self, config: Option<Config>, found: Found, replies: Vec<ReloadReply>) {
        let old = self.settings.load();
        if !std::mem::replace(&mut self.has_found, true) && config.is_none() {
            return self.found_first(found, &old);
        }
        let old_sources = self.sources.clone();
        let (old_problems, old_warnings) = (self.problems.clone(), self.warnings.clone());
        let is_reload = config.is_some();
        let settings = match config {
            Some(config) => self.reconfigure(config, &old),
            None => Arc::clone(&old),
        };
        self.take_over(found, &settings);
        let (problems, warnings) = (
            new_in(&self.problems, &old_problems),
            new_in(&self.warnings, &old_warnings),
        );
        problems
            .iter()
            .for_each(|problem| tracing::error!("{problem}"));
        warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        let mut report = ReloadReport::default();
        if is_reload {
            let difference = Difference::between(&old, &settings);
            (report.changed, report.needs_restart) = (difference.changed, difference.needs_restart);
            report.warnings = self.all_warnings(&settings);
            report.problems.clone_from(&self.problems);
        } else {
            (report.problems, report.warnings) = (problems, warnings);
        }
        reconcile::compare(
            &mut report,
            (&old, &old_sources),
            (&settings, &self.sources),
            |name| self.has_process(name),
        );
        if report != ReloadReport::default() {
            tracing::info!(?report, "plugins brought up to date");
        }
        self.reply_when_settled(report, replies);
    }

    /// Makes the plugins those that the first scan found.
    fn found_first(&mut self, found: Found, settings: &Arc<Settings>) {
        self.take_over(found, settings);
        for problem in &self.problems {
            tracing::error!("{problem}");
        }
        for warning in self.all_warnings(settings) {
            tracing::warn!("{warning}");
        }
    }

    /// Returns `true` if a plugin runs or is starting.
    fn has_process(&self, name: &PluginName) -> bool {
        self.registry.snapshot().get(name).is_some_and(|view| {
            matches!(
                view.availability,
                Availability::Running(_) | Availability::Starting { .. }
            )
        })
    }

    /// Puts another configuration into force.
    pub(super) fn reconfigure(&mut self, config: Config, old: &Settings) -> Arc<Settings> {
        if config.audit != old.config.audit {
            self.host.audit.configure(config.audit.clone());
        }
        let settings = self.put_into_force(config);
        for commands in self.plugins.values() {
            let _ = commands.send(Command::ForgetResponses);
        }
        settings
    }

    /// Resolves the settings anew and applies them to every view at once.
    pub(super) fn put_into_force(&mut self, config: Config) -> Arc<Settings> {
        let generation = self.settings.generation() + 1;
        let settings = Settings::new(config, &self.host.memory.state(), generation);
        let settings = Arc::new(settings);
        // In this order, a query that sees the old generation is resolved again, and none sees old views with the new one.
        self.registry.apply(&settings);
        self.settings.store(Arc::clone(&settings));
        settings
    }

    /// Makes the plugins those that were found.
    pub(super) fn take_over(&mut self, found: Found, settings: &Arc<Settings>) {
        self.sources = found.sources;
        self.problems = found.problems;
        self.warnings = found.warnings;
        self.bring_up_to_date(settings);
        self.registry.set_discovery(Discovery::Complete);
    }

    pub(super) fn bring_up_to_date(&mut self, settings: &Arc<Settings>) {
        let known: BTreeSet<PluginName> = self.plugins.keys().cloned().collect();
        for (name, update) in reconcile::updates(settings, &self.sources, &known) {
            match self.plugins.get(&name) {
                Some(commands) => {
                    let _ = commands.send(Command::Update(update));
                }
                None => drop(self.add(name, update)),
            }
        }
        self.disconnect_unadmitted(settings);
    }

    /// Ends the connections of external plugins that the settings do not admit any more.
    pub(super) fn disconnect_unadmitted(&self, settings: &Settings) {
        // Plugins that are not connected ignore it. One whose registration is on its way to its task gets it after that.
        for (name, commands) in &self.plugins {
            if let Err(error) = external::admit(settings, name) {
                let _ = commands.send(Command::Disconnect(error));
            }
        }
    }

    /// Replies when the plugins that were added or restarted have registered or failed.
    pub(super) fn reply_when_settled(&mut self, report: ReloadReport, replies: Vec<ReloadReply>) {
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
}

/// Replies to reloads that failed.
fn fail(replies: impl IntoIterator<Item = ReloadReply>, error: ConfigError) {
    let error = Arc::new(error);
    for reply in replies {
        // The caller may have stopped waiting.
        let _ = reply.send(Err(Arc::clone(&error)));
    }
}

/// Returns the entries of `now` that were not in `before`.
fn new_in(now: &[String], before: &[String]) -> Vec<String> {
    let is_new = |text: &&String| !before.contains(text);
    now.iter().filter(is_new).cloned().collect()
}
