//! The desired state of a plugin: by its settings, its file and the decisions of the user.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{NotEnabled, PluginTask, Update};
use crate::plugin::machine::Event;
use crate::plugin::source::LaunchSource;
use crate::plugin::state::{Desired, Idle, State};

impl PluginTask {
    /// Applies other settings or another file.
    pub(super) fn update(&mut self, update: Update) {
        self.refuse_returning();
        let old = std::mem::replace(&mut self.launcher.settings, update.settings);
        let settings = Arc::clone(&self.launcher.settings);
        if old.enabled != settings.enabled {
            self.decision = None;
            self.remember_decision();
        }
        self.is_pinning = update.is_pinning;
        let has_failed = self.machine.desired() == &Desired::Run
            && matches!(self.machine.state(), State::Idle(_));
        let is_fresh = old.needs_fresh_process(&settings)
            // A failed start may succeed with any other setting.
            || (has_failed && old != settings);
        let is_other_file = self.replace_source(update.source);
        if let State::Running { connection, .. } = self.machine.state() {
            connection.handle().configure(&settings);
        }
        self.configure();
        self.desire(is_fresh || is_other_file);
    }

    /// Follows a change of the file; returns whether a running process is of another one. A file that vanished may be about to
    /// be replaced.
    fn replace_source(&mut self, source: Option<LaunchSource>) -> bool {
        let Some(source) = source else {
            if self.launcher.source.is_some() {
                self.vanishes_at
                    .get_or_insert(Instant::now() + self.launcher.host.removal_grace);
            }
            return false;
        };
        self.vanishes_at = None;
        let former = self.launcher.source.replace(source);
        former != self.launcher.source
    }

    /// The file has been gone for so long that it is not being replaced.
    pub(super) fn vanished(&mut self) {
        self.vanishes_at = None;
        self.launcher.source = None;
        tracing::info!(plugin = %self.name(), "executable removed");
        self.desire(false);
    }

    /// Hands the settings of starts to the machine.
    pub(super) fn configure(&mut self) {
        let settings = &self.launcher.settings;
        let fatal_exit = settings.fatal_exit.iter().copied().collect();
        self.machine.configure(settings.start_timeout, fatal_exit);
    }

    /// Passes the desired state to the machine.
    pub(super) fn desire(&mut self, is_fresh: bool) {
        let desired = self.desired(self.decision);
        self.feed(Event::Desire { desired, is_fresh });
    }

    /// Enables the plugin for the user and replies once that has an outcome. Where it cannot run, nothing changes.
    pub(super) fn enable(&mut self, done: oneshot::Sender<Result<(), NotEnabled>>) {
        let name = self.name().clone();
        let refusal = match self.desired(Some(true)) {
            Desired::Rest(Idle::Untrusted) => Some(NotEnabled::Untrusted(name)),
            Desired::Rest(Idle::Refused { why }) => Some(NotEnabled::Refused { name, why }),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // The caller may have stopped waiting.
            let _ = done.send(Err(refusal));
            return;
        }
        self.decision = Some(true);
        self.remember_decision();
        self.desire(false);
        self.feed(Event::Retry);
        if matches!(self.machine.state(), State::Launching { .. }) {
            // The executable may be refused, and the user learns that.
            self.enabling.push(done);
        } else {
            // The caller may have stopped waiting.
            let _ = done.send(Ok(()));
        }
    }

    /// Disables the plugin for the user; it is not a candidate any more when this returns.
    pub(super) fn disable(&mut self) {
        self.decision = Some(false);
        self.remember_decision();
        self.desire(false);
    }

    /// Remembers the decision of the user, which wins over the configuration.
    fn remember_decision(&self) {
        let memory = &self.launcher.host.memory;
        memory.remember(self.name(), |plugin| plugin.set_decision(self.decision));
    }

    /// Returns the desired state with this decision of the user.
    fn desired(&self, decision: Option<bool>) -> Desired {
        if self.is_stopping {
            return Desired::Rest(Idle::Gone);
        }
        let settings = &self.launcher.settings;
        let enabled = decision.or(settings.enabled);
        if enabled == Some(false) {
            return Desired::Rest(Idle::Disabled);
        }
        let Some(source) = &self.launcher.source else {
            return Desired::External {
                is_configured: settings.is_configured,
            };
        };
        let needs_pin = self.is_pinning && settings.sha256.is_none() && !source.is_built_in;
        if enabled.is_none() && source.is_available_only && !settings.is_configured {
            Desired::Rest(Idle::Available)
        } else if needs_pin && settings.is_configured {
            Desired::Rest(Idle::Refused {
                why: format!(
                    "plugins are pinned and this one is not: run `keyway plugins trust {}`",
                    self.name()
                ),
            })
        } else if needs_pin {
            Desired::Rest(Idle::Untrusted)
        } else {
            Desired::Run
        }
    }
}
