//! Publishes a plugin's view of its one state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use keyway_proto::keyway::v1::{FailureKind, PluginState};

use super::PluginTask;
use crate::model::{Class, Kind, Rank};
use crate::plugin::registration::Registration;
use crate::plugin::state::{Idle, State, Then};
use crate::plugin::view::{Availability, View};

/// The part of a view that follows from the state alone.
struct Seen {
    state: PluginState,
    availability: Availability,
    message: String,
}

impl PluginTask {
    /// Publishes the plugin as it is now.
    pub(super) fn publish(&self) {
        if self.machine.is_gone() {
            return;
        }
        let Seen {
            state,
            availability,
            message,
        } = self.seen();
        let kind = self.kind(&availability);
        let settings = Arc::clone(&self.launcher.settings);
        let view = View {
            name: self.name().clone(),
            class: self.class(),
            state,
            availability,
            rank: Rank {
                priority: settings.priority,
                class: self.class(),
                interactive: false,
            },
            realm: None,
            kind,
            settings: Arc::clone(&settings),
            registration: self.registration.clone(),
            pid: self
                .external
                .as_ref()
                .map_or(self.process, |peer| peer.pid()),
            executable: self.executable(),
            message,
            n_restarts: self.machine.n_starts().saturating_sub(1),
            record: Arc::clone(&self.record),
        };
        // Rank and realm follow from kind, registration and settings.
        let view = view.with_settings(settings);
        self.launcher.host.publisher.publish(view);
    }

    fn seen(&self) -> Seen {
        match self.machine.state() {
            State::Idle(idle) => self.idle(idle),
            State::Launching { .. } | State::Draining { .. }
                if let Some(idle) = self.machine.desired().idle() =>
            {
                // One that ends in order to rest counts as the state that follows.
                self.idle(&idle)
            }
            State::Launching { until, .. } | State::Registering { until, .. } => Seen {
                state: PluginState::Starting,
                availability: self.starting(*until),
                message: "starting".into(),
            },
            State::Running { connection, .. } => Seen {
                state: PluginState::Running,
                availability: Availability::Running(Arc::clone(connection.handle())),
                message: self.override_note().unwrap_or_default().to_owned(),
            },
            State::Draining { then, until, .. } => self.draining(then, *until),
        }
    }

    fn draining(&self, then: &Then, until: Instant) -> Seen {
        match then {
            Then::Launch | Then::Rest => Seen {
                state: PluginState::Restarting,
                availability: self.starting(until),
                message: "restarting".into(),
            },
            // How process ended is part of the reason, and is known in a moment.
            Then::Failure { why, since: None } => Seen {
                state: PluginState::Crashed,
                availability: self.starting(until),
                message: why.clone(),
            },
            Then::Failure { why, .. } => Seen {
                state: PluginState::Crashed,
                availability: Availability::Failed {
                    kind: FailureKind::Down,
                    next_start: None,
                },
                message: why.clone(),
            },
        }
    }

    fn idle(&self, idle: &Idle) -> Seen {
        let name = self.name();
        let failed = |kind| Availability::Failed {
            kind,
            next_start: idle.next_start(),
        };
        let (availability, message) = match idle {
            Idle::Absent | Idle::Gone => (failed(FailureKind::Down), self.absence()),
            Idle::Available => (
                Availability::Excluded,
                format!("enable it with `keyway plugins enable {name}`"),
            ),
            Idle::Untrusted => (
                Availability::Excluded,
                format!("new executable: look at it, then run `keyway plugins trust {name}`"),
            ),
            Idle::Disabled => (
                Availability::Excluded,
                self.override_note().unwrap_or("disabled").into(),
            ),
            Idle::Refused { why } => (failed(FailureKind::Refused), why.clone()),
            Idle::Failed { why } => (
                failed(FailureKind::Down),
                format!("{why}; repair the plugin, then run `keyway plugins enable {name}`"),
            ),
            Idle::Backoff { why, until } => (
                failed(FailureKind::Down),
                format!("{why}; next start within {} s", seconds_until(*until)),
            ),
            Idle::RetriesExceeded { why, .. } => (
                failed(FailureKind::Down),
                format!(
                    "{why}; retries exceeded: repair the plugin, then run `keyway plugins enable {name}`"
                ),
            ),
        };
        Seen {
            state: idle.shown(),
            availability,
            message,
        }
    }

    /// Returns the missing part, and a remedy: a listed module cannot be disabled.
    fn absence(&self) -> String {
        if self.is_stopping {
            return "the daemon is stopping".to_owned();
        }
        let what = "neither an executable nor a connection of this name exists";
        if self.launcher.settings.is_listed_module {
            return what.to_owned();
        }
        format!(
            "{what}; install it, or run `keyway plugins disable {}`",
            self.name()
        )
    }

    /// Returns the decision of the user if the configuration has the opposite.
    fn override_note(&self) -> Option<&'static str> {
        match (self.decision, self.launcher.settings.enabled) {
            (Some(true), Some(false)) => {
                Some("enabled with `keyway plugins enable`, although the configuration disables it")
            }
            (Some(false), Some(true)) => Some(
                "disabled with `keyway plugins disable`, although the configuration enables it",
            ),
            _ => None,
        }
    }

    fn starting(&self, until: Instant) -> Availability {
        Availability::Starting {
            until,
            is_awaited: !self.has_failed_before() || self.launcher.settings.required,
        }
    }

    /// Returns `true` if the first registration of its file failed.
    fn has_failed_before(&self) -> bool {
        let file = self.launcher.identity();
        let memory = self.launcher.host.memory.plugin(self.name());
        file.is_some() && memory.failed_file.as_ref() == file
    }

    /// Returns how its process is started. Without process and file the last registration decides; a plugin that never registered
    /// ranks as launched, so that its absence is not hidden by the value of an equal one.
    fn class(&self) -> Class {
        if self.external.is_some() {
            return Class::External;
        }
        if self.launcher.source.is_some() || self.process.is_some() {
            return Class::Launched;
        }
        let memory = self.launcher.host.memory.plugin(self.name());
        let is_external = match memory.registration {
            Some(registration) => registration.file.is_none(),
            None => self.launcher.settings.is_listed_external,
        };
        if is_external {
            Class::External
        } else {
            Class::Launched
        }
    }

    /// Returns its kind and realm as far as they are known: those of its registration, else of its file's last one, else of the
    /// configuration, else those last known for its name. The last does not count for a file whose first registration is awaited.
    fn kind(&self, availability: &Availability) -> Option<Kind> {
        if let Some(registration) = self.current_registration() {
            return Some(registration.kind.clone());
        }
        let memory = self.launcher.host.memory.plugin(self.name());
        let of_file = self
            .launcher
            .identity()
            .and_then(|file| memory.registration_of(file));
        let of_file = of_file.filter(|kind| self.may_be(kind)).cloned();
        let configured = self.launcher.settings.realm.clone().map(Kind::Provider);
        if let Some(kind) = of_file.or(configured) {
            return Some(kind);
        }
        let is_new =
            matches!(availability, Availability::Starting { .. }) && !self.has_failed_before();
        memory
            .registration
            .map(|registration| registration.kind)
            .filter(|_| !is_new)
    }

    /// With a configured realm it is a provider, whatever it was before.
    fn may_be(&self, kind: &Kind) -> bool {
        *kind != Kind::AccessControl || self.launcher.settings.realm.is_none()
    }

    /// Returns the registration of the connection that exists, or has just failed.
    fn current_registration(&self) -> Option<&Registration> {
        match self.machine.state() {
            State::Running { connection, .. } => Some(connection.registration()),
            State::Draining {
                then: Then::Failure { since: Some(_), .. },
                ..
            } => self.registration.as_deref(),
            _ => None,
        }
    }

    fn executable(&self) -> Option<PathBuf> {
        if let Some(peer) = &self.external {
            return Some(peer.executable().into());
        }
        let source = self.launcher.source.as_ref()?;
        Some(source.executable.clone())
    }
}

fn seconds_until(until: Instant) -> u64 {
    until.saturating_duration_since(Instant::now()).as_secs() + 1
}
