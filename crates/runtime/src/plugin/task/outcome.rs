//! Handles the outcomes for a plugin: launches, registrations, ends.

use std::sync::Arc;
use std::time::Instant;

use keyway_local::with_causes;

use super::PluginTask;
use crate::launch::{EndedProcess, LaunchError, LaunchErrorClass, Launched, Shortage};
use crate::lines::peer_event;
use crate::model::state::RememberedRegistration;
use crate::model::{Kind, Realm};
use crate::plugin::connection::{OpenError, Registrant};
use crate::plugin::ending::exit;
use crate::plugin::machine::{Event, LaunchFailure};
use crate::plugin::registration::{Registration, RegistrationError};
use crate::plugin::resources::Outcome;
use crate::plugin::state::{State, Then};

impl PluginTask {
    /// Handles the next event of the state's resources.
    pub(super) async fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Launched(Ok(launched)) => self.launched(launched),
            Outcome::Launched(Err(error)) => self.launch_failed(&error),
            Outcome::Opened(Ok(registrant)) => self.opened(registrant).await,
            Outcome::Opened(Err(error)) => self.ended(with_causes(&error)),
            Outcome::ExitedEarly => self.ended("process ended before the registration".into()),
            Outcome::Lost(why) => self.lost(why),
            Outcome::Ended(ended) => self.drained(ended),
        }
    }

    fn launched(&mut self, launched: Launched) {
        let (child, opening) = self.launcher.adopt(launched);
        self.process = Some(child.pid());
        self.shortage = None;
        tracing::info!(plugin = %self.name(), pid = child.pid(), "plugin process started");
        self.feed(Event::Launched { child, opening });
    }

    fn launch_failed(&mut self, error: &LaunchError) {
        let why = with_causes(error);
        let failure = match error.class() {
            LaunchErrorClass::Refused => {
                tracing::error!(plugin = %self.name(), error = %why, "plugin refused");
                self.audit("refuse", None, &why);
                LaunchFailure::Refused { why }
            }
            LaunchErrorClass::Busy => self.lacks(Shortage::ClosedFile, &why),
            LaunchErrorClass::Shortage(shortage) => self.lacks(shortage, &why),
            LaunchErrorClass::Failed => {
                tracing::error!(plugin = %self.name(), error = %why, "plugin not started");
                self.first_start_has_failed();
                LaunchFailure::Failed { why }
            }
        };
        self.feed(Event::LaunchFailed(failure));
    }

    /// The start failed without a fault of the plugin, and is tried again each second.
    fn lacks(&mut self, shortage: Shortage, error: &str) -> LaunchFailure {
        if self.shortage.replace(shortage) != Some(shortage) {
            tracing::warn!(plugin = %self.name(), %shortage, error, "plugin not started");
        }
        LaunchFailure::Shortage {
            why: shortage.to_string(),
        }
    }

    async fn opened(&mut self, registrant: Registrant) {
        let refusal = if self.launcher.host.is_stopping() {
            Err(RegistrationError::Stopping)
        } else {
            self.check_kind(registrant.registration())
        };
        if let Err(error) = refusal {
            let error: OpenError = registrant.refuse(error).await;
            self.ended(with_causes(&error));
            return;
        }
        let connection =
            registrant.accept(&self.launcher.settings, &self.launcher.host.version.version);
        self.registered(Arc::clone(connection.registration()));
        self.feed(Event::Opened(connection));
    }

    /// Notes and reports a registration that was accepted.
    pub(super) fn registered(&mut self, registration: Arc<Registration>) {
        let realm = self.realm_of(&registration.kind);
        let shown = realm.as_ref().map(Realm::to_string).unwrap_or_default();
        let (name, version) = (self.name(), &registration.version);
        if let Some(peer) = &self.external {
            let executable = peer.executable();
            peer_event!(
                self.launcher.host.registration_lines,
                WARN,
                plugin = %name, pid = peer.pid(), executable = %executable.display(), realm = %shown, %version,
                "external plugin registered"
            );
        } else {
            tracing::info!(plugin = %name, realm = %shown, %version, "plugin registered");
        }
        self.audit("register", self.external.as_deref(), &shown);
        if realm.is_some_and(|realm| realm.is_empty()) {
            tracing::error!(
                plugin = %name,
                "no id is in both the configured and the registered realm: plugin is never called"
            );
        }
        self.remember(&registration);
        self.registration = Some(registration);
    }

    /// Returns the effective realm of a kind.
    fn realm_of(&self, kind: &Kind) -> Option<Realm> {
        match kind {
            Kind::Provider(patterns) => {
                let limit = self.launcher.settings.realm.as_deref();
                Some(Realm::new(patterns, limit))
            }
            Kind::AccessControl => None,
        }
    }

    fn remember(&self, registration: &Registration) {
        let kind = registration.kind.clone();
        let file = self.launcher.identity().cloned();
        self.launcher.host.memory.remember(self.name(), |plugin| {
            plugin.registration = Some(RememberedRegistration { kind, file });
            plugin.failed_file = None;
        });
    }

    /// A file whose first registration failed is not waited for at the next start.
    pub(super) fn first_start_has_failed(&self) {
        let Some(file) = self.launcher.identity().cloned() else {
            return;
        };
        self.launcher.host.memory.remember(self.name(), |plugin| {
            if plugin.registration_of(&file).is_none() {
                plugin.failed_file = Some(file);
            }
        });
    }

    pub(super) fn lost(&mut self, why: String) {
        if let Some(peer) = &self.external {
            let lines = &self.launcher.host.departure_lines;
            peer_event!(lines, INFO, plugin = %self.name(), reason = why, "external plugin left");
            self.audit("leave", Some(peer), &why);
        }
        self.ended(why);
    }

    fn ended(&mut self, why: String) {
        let now = Instant::now();
        let suspended_until = if self.machine.state().has_stopped_child() {
            tracing::warn!(plugin = %self.name(), "plugin process is stopped by a signal: it is replaced");
            Some(now)
        } else {
            self.launcher.host.suspensions.just_ended(now)
        };
        self.feed(Event::Ended {
            why,
            suspended_until,
        });
    }

    fn drained(&mut self, ended: Option<EndedProcess>) {
        let State::Draining { then, .. } = self.machine.state() else {
            return;
        };
        let has_failed = matches!(then, Then::Failure { .. });
        if matches!(then, Then::Failure { since: None, .. }) {
            self.first_start_has_failed();
        }
        (self.process, self.external) = (None, None);
        let last_output = self.launcher.output.last_output();
        self.feed(Event::Drained(exit(
            ended,
            last_output.filter(|_| has_failed),
        )));
        match self.machine.state() {
            State::Idle(idle) if has_failed => {
                tracing::error!(plugin = %self.name(), reason = idle.why(), "plugin failed");
            }
            _ => {
                if let Some(ended) = ended {
                    tracing::info!(plugin = %self.name(), %ended, "plugin stopped");
                }
            }
        }
        self.connect_returning();
    }
}
