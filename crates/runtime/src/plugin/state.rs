//! The one state of a plugin; everything shown or decided about the plugin is a view of it.

use std::time::Instant;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;

/// The resources that the states of a plugin hold: processes and connections in the daemon, nothing in the tests of the machine.
pub(crate) trait Resources {
    /// A start that is under way.
    type Launch;
    /// A process.
    type Child;
    /// A connection whose registration is awaited.
    type Opening;
    /// A connection that has registered.
    type Connection;
    /// An end that is under way.
    type Ending;
}

/// The state of a plugin. Each state owns the resources that exist in it.
///
/// ```text
///            Desire(Run)             Launched              Opened
///   ┌──────┐ ─────────▶ ┌───────────┐ ─────▶ ┌─────────────┐ ────▶ ┌─────────┐ ◀── Connected (external)
///   │ Idle │            │ Launching │        │ Registering │       │ Running │
///   └──────┘ ◀── ─ ─ ── └───────────┘        └─────────────┘       └─────────┘
///      ▲  launch failed: Backoff, Refused, ...      │ Ended, Desire(Rest), fresh process │
///      │                                            ▼                                    │
///      │ Drained                             ┌──────────┐                                │
///      └──────────────────────────────────── │ Draining │ ◀──────────────────────────────┘
///                  (or Launching again)      └──────────┘
/// ```
pub(crate) enum State<R: Resources> {
    /// There is neither process nor connection.
    Idle(Idle),
    /// The executable is prepared and forked.
    Launching {
        launch: R::Launch,
        /// The time when a query stops waiting for this start.
        until: Instant,
    },
    /// The process runs and has not registered yet.
    Registering {
        child: R::Child,
        opening: R::Opening,
        /// The time of the fork.
        since: Instant,
        /// The time when a query stops waiting for this start.
        until: Instant,
    },
    /// It has registered and is sent requests.
    Running {
        /// `None` for an external plugin.
        child: Option<R::Child>,
        connection: R::Connection,
        /// The time of its registration.
        since: Instant,
    },
    /// Its process and connection are being ended.
    Draining {
        ending: R::Ending,
        then: Then,
        /// The time when a query stops waiting for the start that follows, if one does.
        until: Instant,
    },
}

/// The reason why a plugin has neither process nor connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Idle {
    /// The configuration names it, and there is no file.
    Absent,
    /// It may be enabled.
    Available,
    /// Its executable is new, while pinning is on.
    Untrusted,
    /// It is disabled.
    Disabled,
    /// Its executable may not run.
    Refused { why: String },
    /// It ended with the status of a permanent failure.
    Failed { why: String },
    /// It failed and is started again at `until`.
    Backoff { until: Instant, why: String },
    /// It failed too often in a row; the next attempt is at `until`.
    RetriesExceeded { until: Instant, why: String },
    /// It is forgotten: its task ends.
    Gone,
}

/// The step that follows when a plugin has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// A fresh process.
    Launch,
    /// The desired state.
    Rest,
    /// A failure; the exit status of the process decides the next state.
    Failure {
        why: String,
        /// The time of the registration; `None`: never.
        since: Option<Instant>,
    },
}

/// The desired state of a plugin, by settings, files and commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Desired {
    /// A launched process.
    Run,
    /// No process, for this reason.
    Rest(Idle),
    /// A connection from outside may come; without one it is absent if it is configured, else forgotten.
    External { is_configured: bool },
}

impl Desired {
    /// Returns the state of a plugin of which nothing is left.
    pub(super) fn idle(&self) -> Option<Idle> {
        match self {
            Self::Run => None,
            Self::Rest(idle) => Some(idle.clone()),
            Self::External { is_configured } => Some(if *is_configured {
                Idle::Absent
            } else {
                Idle::Gone
            }),
        }
    }
}

impl Idle {
    /// Returns the state as tables show it.
    pub(crate) fn shown(&self) -> PluginState {
        match self {
            Self::Absent | Self::Gone => PluginState::Absent,
            Self::Available => PluginState::Available,
            Self::Untrusted => PluginState::Untrusted,
            Self::Disabled => PluginState::Disabled,
            Self::Refused { .. } => PluginState::Refused,
            Self::Failed { .. } => PluginState::Failed,
            Self::Backoff { .. } => PluginState::Crashed,
            Self::RetriesExceeded { .. } => PluginState::RetriesExceeded,
        }
    }

    /// Returns the reason of the state; empty if there is none.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Refused { why }
            | Self::Failed { why }
            | Self::Backoff { why, .. }
            | Self::RetriesExceeded { why, .. } => why,
            _ => "",
        }
    }

    /// Returns when it is started again by itself.
    pub(crate) fn next_start(&self) -> Option<Instant> {
        match self {
            Self::Backoff { until, .. } | Self::RetriesExceeded { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// Returns the status that `plugins.v1` has for a state.
pub(crate) fn run_status(state: PluginState) -> RunStatus {
    match state {
        PluginState::Unspecified | PluginState::Starting => RunStatus::Unspecified,
        PluginState::Running => RunStatus::Running,
        PluginState::Crashed | PluginState::Failed => RunStatus::Crashed,
        PluginState::RetriesExceeded => RunStatus::RetriesExceeded,
        PluginState::Restarting
        | PluginState::Refused
        | PluginState::Absent
        | PluginState::Untrusted
        | PluginState::Available
        | PluginState::Disabled => RunStatus::Stopped,
    }
}
