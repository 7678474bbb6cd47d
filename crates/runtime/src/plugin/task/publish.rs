//! What the task of a plugin publishes: a view of its one state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_proto::keyway::v1::{FailureKind, PluginState};

use super::PluginTask;
use crate::model::{Class, Kind, Rank};
use crate::plugin::state::{Idle, State, Then};
use crate::plugin::view::{Availability, View};

/// How much longer than a start may take a query waits for its end to be published.
const END_NOTICED: Duration = Duration::from_secs(1);

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
            class: self.class,
            state,
            availability,
            rank: Rank {
                priority: settings.priority,
                class: self.class,
                interactive: false,
            },
            realm: None,
            kind,
            settings: Arc::clone(&settings),
            registration: self.registration.clone(),
            pid: self.pid(),
            executable: self.executable(),
            message,
            decision: self.decision,
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
            State::Launching { until, .. } | State::Registering { until, .. } => Seen {
                state: PluginState::Starting,
                availability: self.starting(*until),
                message: "it is starting".into(),
            },
            State::Running { connection, .. } => Seen {
                state: PluginState::Running,
                availability: Availability::Running(Arc::clone(connection.handle())),
                message: String::new(),
            },
            State::Draining { then, until, .. } => self.draining(then, *until),
        }
    }

    /// One that drains in order to rest counts as the state that follows.
    fn draining(&self, then: &Then, until: Instant) -> Seen {
        if let Some(idle) = self.machine.desired().idle() {
            return self.idle(&idle);
        }
        match then {
            Then::Launch | Then::Rest => Seen {
                state: PluginState::Restarting,
                availability: self.starting(until),
                message: "it is restarting".into(),
            },
            // How its process ended is part of the reason, and is known in a moment.
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
            Idle::Absent | Idle::Gone => (
                failed(FailureKind::Down),
                "there is neither an executable of this name nor a connection".into(),
            ),
            Idle::Available => (
                Availability::Excluded,
                format!("it can be enabled with `keyway plugins enable {name}`"),
            ),
            Idle::Untrusted => (
                Availability::Excluded,
                format!(
                    "its executable is new: look at it, then run `keyway plugins trust {name}`"
                ),
            ),
            Idle::Disabled => (Availability::Excluded, "it is disabled".into()),
            Idle::Refused { why } => (failed(FailureKind::Refused), why.clone()),
            Idle::Failed { why } => (
                failed(FailureKind::Down),
                format!("{why}; mend it, then run `keyway plugins enable {name}`"),
            ),
            Idle::Backoff { why, until } => (
                failed(FailureKind::Down),
                format!(
                    "{why}; it is started again within {} s",
                    seconds_until(*until)
                ),
            ),
            Idle::RetriesExceeded { why, .. } => (
                failed(FailureKind::Down),
                format!(
                    "{why}; it failed too often: mend it, then run `keyway plugins enable {name}`"
                ),
            ),
        };
        Seen {
            state: idle.shown(),
            availability,
            message,
        }
    }

    /// A start that is overdue at `until`. Its end is noticed and published a moment later, and a query that waits sees that instead
    /// of its own bound.
    fn starting(&self, until: Instant) -> Availability {
        let until = until + END_NOTICED;
        let file = self
            .launcher
            .source
            .as_ref()
            .and_then(|source| source.identity.as_ref());
        let memory = self.launcher.host.memory.plugin(self.name());
        let has_failed_before = file.is_some() && memory.failed_file.as_ref() == file;
        Availability::Starting {
            until,
            is_awaited: !has_failed_before || self.launcher.settings.required,
        }
    }

    /// What it is, as far as is known: what it registered as, else what the configuration says, else what its file registered as
    /// last. Of a plugin that is not running, what its name was last known for counts too.
    fn kind(&self, availability: &Availability) -> Option<Kind> {
        let current = match self.machine.state() {
            State::Running { connection, .. } => Some(connection.registration().kind.clone()),
            State::Draining {
                then: Then::Failure { since: Some(_), .. },
                ..
            } => self.registration.as_ref().map(|known| known.kind.clone()),
            _ => None,
        };
        let is_starting = matches!(availability, Availability::Starting { .. });
        current
            .or_else(|| self.remembered_kind(is_starting))
            .or_else(|| self.launcher.settings.realm.clone().map(Kind::Provider))
    }

    fn remembered_kind(&self, only_of_this_file: bool) -> Option<Kind> {
        let memory = self.launcher.host.memory.plugin(self.name());
        let file = self
            .launcher
            .source
            .as_ref()
            .and_then(|source| source.identity.as_ref());
        let kind = match file.and_then(|file| memory.registration_of(file)) {
            Some(kind) => kind.clone(),
            None if only_of_this_file => return None,
            None => memory.registration?.kind,
        };
        // With a configured realm it is a provider, whatever it was before.
        let is_module = kind == Kind::AccessControl && self.launcher.settings.realm.is_some();
        (!is_module).then_some(kind)
    }

    fn pid(&self) -> Option<i32> {
        let external = || self.external.as_ref().and_then(|peer| peer.pid());
        match self.machine.state() {
            State::Running { child: None, .. } => external(),
            _ => self.pid,
        }
    }

    fn executable(&self) -> Option<std::path::PathBuf> {
        if self.class == Class::External {
            let peer = self.external.as_ref()?;
            return Some(peer.executable());
        }
        let source = self.launcher.source.as_ref()?;
        Some(source.executable.clone())
    }
}

fn seconds_until(until: Instant) -> u64 {
    until.saturating_duration_since(Instant::now()).as_secs() + 1
}
