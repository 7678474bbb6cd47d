//! What is told of a launched plugin: to people, and to queries that could be its own.

use std::time::Instant;

use keyway_proto::plugins::v1::RunStatus;

use super::LaunchedPlugin;
use super::stage::Stage;
use crate::registry::Availability;
use crate::supervisor::State;

/// How a plugin is, as the registry has it.
pub(super) struct Status {
    pub(super) availability: Availability,
    pub(super) run_status: RunStatus,
    /// For people.
    pub(super) message: String,
}

impl Status {
    fn new(availability: Availability, run_status: RunStatus, message: impl Into<String>) -> Self {
        Self {
            availability,
            run_status,
            message: message.into(),
        }
    }

    fn stopped(message: impl Into<String>) -> Self {
        Self::new(Availability::Disabled, RunStatus::Stopped, message)
    }
}

impl LaunchedPlugin {
    pub(super) fn status(&self) -> Status {
        let trouble = &self.trouble;
        match self.supervisor.state() {
            State::Launching | State::Registering | State::Running { .. } => self.started(),
            State::Draining => self.draining(),
            State::Stopped => self.stopped(),
            State::Crashed => Status::new(self.not_running(), RunStatus::Crashed, trouble.as_str()),
            State::Backoff { until } => {
                let delay = until.saturating_duration_since(Instant::now()).as_secs() + 1;
                let message = format!("{trouble}; it is started again within {delay} s");
                Status::new(Availability::Down, RunStatus::Crashed, message)
            }
            State::RetriesExceeded => {
                let message = format!(
                    "{trouble}; given up: mend it, then run `keyway plugins enable {}`",
                    self.name
                );
                Status::new(Availability::Down, RunStatus::RetriesExceeded, message)
            }
        }
    }

    fn started(&self) -> Status {
        if let (State::Running { .. }, Stage::Running { connection, .. }) =
            (self.supervisor.state(), &self.stage)
        {
            let handle = connection.handle();
            return Status::new(Availability::Running(handle), RunStatus::Running, "");
        }
        if self.trouble.is_empty() {
            return Status::new(self.not_running(), RunStatus::Unspecified, "starting");
        }
        let message = format!("starting again; before that, {}", self.trouble);
        Status::new(self.not_running(), RunStatus::Crashed, message)
    }

    fn draining(&self) -> Status {
        if self.supervisor.is_wanted() && !self.finishing {
            // Its end and its next start are one matter for those who ask: what it has is not absent.
            return Status::new(self.not_running(), RunStatus::Stopped, "restarting");
        }
        Status::stopped("stopping")
    }

    fn stopped(&self) -> Status {
        if self.source.may_start {
            return Status::stopped("disabled");
        }
        Status::stopped(format!(
            "new and not trusted yet: look at {}, then run `keyway plugins trust {}`",
            self.source.executable.display(),
            self.name
        ))
    }

    /// Whether those who ask may still wait for it.
    fn not_running(&self) -> Availability {
        if self.settled {
            Availability::Down
        } else {
            Availability::Starting
        }
    }
}
