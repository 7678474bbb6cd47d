//! When a launched plugin is started, stopped, restarted and given up: the decisions, without any I/O.
//!
//! The owner of a plugin feeds a [`Supervisor`] with what happened ([`Event`]) and does what it answers ([`Action`]). Time is
//! an argument, and the random part of a delay comes from a seed, so that every path is tested with virtual time.

mod backoff;

use std::time::Instant;

pub use backoff::RestartPolicy;
use backoff::{Backoff, Verdict};

/// Where a launched plugin is in its life.
///
/// ```text
///                Enable                 Started                  Registered
///   ┌─────────┐ ───────▶ ┌───────────┐ ────────▶ ┌─────────────┐ ──────────▶ ┌─────────┐
///   │ Stopped │          │ Launching │           │ Registering │             │ Running │
///   └─────────┘ ◀──┐     └───────────┘           └─────────────┘             └─────────┘
///        ▲         │        │     ▲                │      │ Disable          │      │
///        │ Disable │        │     │          Ended │      └────────┐ ┌───────┘      │
///        │         │  Failed│     │ timer          ▼               ▼ ▼ Disable      │ Ended
///        │         │        ▼     │           ┌─────────┐     ┌──────────┐          │
///        │         │     ┌─────────┐ Cleaned  │ Crashed │     │ Draining │          │
///        │         │     │ Backoff │ ◀─────── └─────────┘     └──────────┘          │
///        │         │     └─────────┘               ▲   │           │ Drained        │
///        │         │      │                        │   └───────────┼────────────────┘
///        │         └──────┴── Disable              │ Cleaned,      ▼
///        │                                         │ out of tries  Stopped (or Launching, when
///        │            ┌─────────────────┐          │               it was enabled again)
///        └─ Disable ──│ RetriesExceeded │ ◀────────┘   (a failed launch can end here as well)
///                     └─────────────────┘ ── Enable ──▶ Launching
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The process is being started.
    Launching,
    /// The process runs and has not registered yet.
    Registering,
    /// Registered; answers requests.
    Running {
        /// When it registered.
        since: Instant,
    },
    /// It was told to stop and is finishing its work.
    Draining,
    /// Waits for the next start.
    Backoff {
        /// When that is.
        until: Instant,
    },
    /// Not wanted: disabled, or not enabled yet, or the daemon is stopping.
    Stopped,
    /// It ended without being asked to, and what is left of it is being cleared away.
    Crashed,
    /// It failed too often; only a person starts it again.
    RetriesExceeded,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Somebody wants it to run: configuration at start-up, `EnablePlugin`, a reload.
    Enable,
    /// Somebody wants it not to run: `DisablePlugin`, a reload that removed it, the daemon stopping.
    Disable,
    /// Somebody wants a fresh process: its file or configuration changed. A second one that follows sooner than
    /// [`RestartPolicy::initial`] waits until that time has passed.
    Restart,
    /// The process was started.
    Started,
    /// The process could not be started; nothing is left of the attempt.
    Failed,
    /// It registered, and the registration was accepted.
    Registered,
    /// Its connection or process ended unasked, its registration was refused, or it did not register in time.
    Ended,
    /// What was left after [`Event::Ended`] has been cleared away.
    Cleaned,
    /// The stop that [`Action::Drain`] asked for is complete.
    Drained,
}

/// What the owner has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Start the process; report [`Event::Started`] or [`Event::Failed`].
    Launch,
    /// Stop the plugin in order; report [`Event::Drained`].
    Drain,
    /// End the process and reap it; report [`Event::Cleaned`].
    CleanUp,
}

/// The state machine of one launched plugin.
///
/// Call [`handle`](Self::handle) for each event and [`handle_timeout`](Self::handle_timeout) when
/// [`next_timeout`](Self::next_timeout) has passed. Time must not go backwards between calls. An event that its state does not
/// expect changes nothing: a late message about a process that is gone must not disturb its successor.
#[derive(Debug)]
pub(crate) struct Supervisor {
    state: State,
    wanted: bool,
    backoff: Backoff,
    last_restart: Option<Instant>,
    /// When a restart is due that was asked for and has to wait.
    restart_at: Option<Instant>,
}

impl Supervisor {
    /// A plugin that nobody has asked to run yet. `seed` decides the random part of its delays.
    pub(crate) fn new(policy: RestartPolicy, seed: u64) -> Self {
        Self {
            state: State::Stopped,
            wanted: false,
            backoff: Backoff::new(policy, seed),
            last_restart: None,
            restart_at: None,
        }
    }

    /// Whether the plugin should run, even when it has to stop first.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The current state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Backoff { until } => Some(self.restart_at.map_or(until, |at| at.min(until))),
            State::Registering | State::Running { .. } | State::RetriesExceeded => self.restart_at,
            State::Launching | State::Draining | State::Stopped | State::Crashed => None,
        }
    }

    /// Starts the plugin again when its delay has passed, or a restart is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Action {
        match self.state {
            _ if self.restart_at.is_some_and(|at| at <= now) => self.restart(now),
            State::Backoff { until } if until <= now => {
                if self.restart_at.is_some() {
                    self.last_restart = Some(now);
                }
                self.launch()
            }
            _ => Action::None,
        }
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, event: Event, now: Instant) -> Action {
        match event {
            Event::Enable => self.enable(),
            Event::Disable => self.disable(),
            Event::Restart => self.restart(now),
            Event::Started => self.started(),
            Event::Failed => self.failed(now),
            Event::Registered => self.registered(now),
            Event::Ended => self.ended(now),
            Event::Cleaned => self.cleaned(now),
            Event::Drained => self.drained(),
        }
    }

    fn enable(&mut self) -> Action {
        self.wanted = true;
        match self.state {
            State::Stopped | State::RetriesExceeded | State::Backoff { .. } => {
                self.backoff.forgive();
                self.launch()
            }
            _ => Action::None,
        }
    }

    fn disable(&mut self) -> Action {
        self.wanted = false;
        self.restart_at = None;
        match self.state {
            State::Registering | State::Running { .. } => self.drain(),
            State::Backoff { .. } | State::RetriesExceeded => {
                self.state = State::Stopped;
                Action::None
            }
            // A launch or a clean-up that is under way is looked at again when it has ended.
            State::Launching | State::Draining | State::Stopped | State::Crashed => Action::None,
        }
    }

    /// A plugin that nobody wants is not started by this. Restarts keep a distance, as starts after a failure do: a plugin that
    /// changes its own file at each start would be restarted without end and without a pause.
    fn restart(&mut self, now: Instant) -> Action {
        match self.state {
            // What is launched afterwards is fresh.
            State::Draining | State::Stopped | State::Crashed => return Action::None,
            State::Launching
            | State::Registering
            | State::Running { .. }
            | State::Backoff { .. }
            | State::RetriesExceeded => {}
        }
        let earliest = self.last_restart.map(|last| last + self.backoff.initial());
        let at = earliest.map_or(now, |earliest| earliest.max(now));
        if at > now || self.state == State::Launching {
            self.restart_at = Some(at);
            return Action::None;
        }
        self.last_restart = Some(now);
        self.restart_at = None;
        match self.state {
            State::Registering | State::Running { .. } => self.drain(),
            _ => {
                self.backoff.forgive();
                self.launch()
            }
        }
    }

    fn started(&mut self) -> Action {
        match self.state {
            State::Launching if self.wanted => {
                self.state = State::Registering;
                Action::None
            }
            State::Launching => self.drain(),
            _ => Action::None,
        }
    }

    fn failed(&mut self, now: Instant) -> Action {
        match self.state {
            State::Launching => {
                self.backoff.failed(now);
                self.after_failure(now)
            }
            _ => Action::None,
        }
    }

    fn registered(&mut self, now: Instant) -> Action {
        if self.state == State::Registering {
            self.state = State::Running { since: now };
        }
        Action::None
    }

    fn ended(&mut self, now: Instant) -> Action {
        match self.state {
            State::Running { since } => self.backoff.ran_for(now.saturating_duration_since(since)),
            State::Registering => {}
            _ => return Action::None,
        }
        self.backoff.failed(now);
        self.state = State::Crashed;
        Action::CleanUp
    }

    fn cleaned(&mut self, now: Instant) -> Action {
        match self.state {
            State::Crashed => self.after_failure(now),
            _ => Action::None,
        }
    }

    fn drained(&mut self) -> Action {
        match self.state {
            State::Draining if self.wanted => self.launch(),
            State::Draining => {
                self.state = State::Stopped;
                Action::None
            }
            _ => Action::None,
        }
    }

    fn after_failure(&mut self, now: Instant) -> Action {
        self.state = match self.backoff.next(now) {
            _ if !self.wanted => State::Stopped,
            Verdict::RetryAfter(delay) => State::Backoff { until: now + delay },
            Verdict::GiveUp => State::RetriesExceeded,
        };
        Action::None
    }

    fn launch(&mut self) -> Action {
        self.restart_at = None;
        self.state = State::Launching;
        Action::Launch
    }

    fn drain(&mut self) -> Action {
        self.state = State::Draining;
        Action::Drain
    }
}

#[cfg(test)]
mod tests;
