//! Decides when a plugin is started, drained, started again and stopped, without any I/O.
//!
//! The plugin's task passes events and [`Actions`] to the [`Machine`]; time is an argument. So every path is
//! tested in virtual time, with actions that only record that they were called.

use std::time::{Duration, Instant};

use super::retry::{RestartPolicy, Retry, Verdict};
use super::state::{Desired, Idle, Resources, State, Then};

/// The least time between two restarts that follow changes: a plugin that changes its own file at each start would otherwise be
/// restarted without a pause.
const RESTART_DISTANCE: Duration = Duration::from_secs(2);

/// The pause before a launch is tried again that failed for a shortage of the daemon.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Limit for the steps before the fork: reading, hashing, the queue of launches.
pub(crate) const PREPARATION_LIMIT: Duration = Duration::from_secs(10);

/// Limit for a drain: the protocol's three bounded steps, and the time to notice.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// The time by which a query waits longer for a start than the start may take: the plugin's own time-out comes first, and its
/// reason is what the caller reads.
const WAIT_SLACK: Duration = Duration::from_secs(1);

/// The actions that the machine requests of the plugin's task.
pub(crate) trait Actions: Resources {
    /// Begins to launch a process.
    fn launch(&mut self) -> Self::Launch;

    /// Begins to end process and connection: in the protocol's order, or the rest of them after a failure.
    fn end(
        &mut self,
        child: Option<Self::Child>,
        connection: Option<Self::Connection>,
        is_graceful: bool,
    ) -> Self::Ending;
}

/// An event in the life of a plugin.
pub(crate) enum Event<R: Resources> {
    /// Settings, files or commands set the desired state. `is_fresh`: a running process has to be replaced.
    Desire { desired: Desired, is_fresh: bool },
    /// The user requested another attempt: earlier failures are forgotten.
    Retry,
    /// The process was forked.
    Launched {
        child: R::Child,
        opening: R::Opening,
    },
    /// The process could not be started; nothing is left of the attempt.
    LaunchFailed(LaunchFailure),
    /// The registration of the launched process was accepted.
    Opened(R::Connection),
    /// The registration of an external plugin was accepted.
    Connected(R::Connection),
    /// The process or its connection ended, its registration was refused, or it did not register in time.
    Ended {
        why: String,
        /// Until when the daemon or the process was suspended, if that explains the end.
        suspended_until: Option<Instant>,
    },
    /// An external plugin shall leave.
    Disconnect,
    /// The drained process and connection have ended.
    Drained(Exit),
}

/// Error of starting a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LaunchFailure {
    /// The executable may not run.
    Refused { why: String },
    /// The daemon lacks descriptors, memory or processes: never the plugin's failure.
    Shortage { why: String },
    /// Anything else.
    Failed { why: String },
}

/// The end of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit status, unless a signal ended it or there was no process.
    pub(crate) code: Option<i32>,
    /// The kind of the end, and the last output; empty without a process.
    pub(crate) text: String,
}

/// The life of one plugin.
pub(crate) struct Machine<R: Resources> {
    state: State<R>,
    desired: Desired,
    retry: Retry,
    fatal_exit: Vec<i32>,
    start_timeout: Duration,
    last_restart: Option<Instant>,
    /// The due time of a restart that keeps its distance from the one before.
    restart_at: Option<Instant>,
    n_starts: u64,
}

impl<R: Actions> Machine<R> {
    /// Creates a plugin of which nothing exists. `seed` decides the random part of its delays.
    pub(crate) fn new(policy: RestartPolicy, seed: u64) -> Self {
        Self {
            state: State::Idle(Idle::Absent),
            desired: Desired::Rest(Idle::Absent),
            retry: Retry::new(policy, seed),
            fatal_exit: Vec::new(),
            start_timeout: Duration::ZERO,
            last_restart: None,
            restart_at: None,
            n_starts: 0,
        }
    }

    /// Returns the current state.
    pub(crate) fn state(&self) -> &State<R> {
        &self.state
    }

    /// Returns the current state, for the task to wait on its resources.
    pub(crate) fn state_mut(&mut self) -> &mut State<R> {
        &mut self.state
    }

    /// Returns the desired state.
    pub(crate) fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Returns how often a process was started.
    pub(crate) fn n_starts(&self) -> u64 {
        self.n_starts
    }

    /// Returns `true` if no start is due or under way, short of a retry after a failure.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Idle(_) | State::Running { .. }) && self.restart_at.is_none()
    }

    /// Returns `true` if the plugin's task has ended.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Idle(Idle::Gone))
    }

    /// Sets the settings for starts and ends.
    pub(crate) fn configure(&mut self, start_timeout: Duration, fatal_exit: Vec<i32>) {
        self.start_timeout = start_timeout;
        self.fatal_exit = fatal_exit;
    }

    /// Returns when [`on_timer`](Self::on_timer) must be called.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let start = match &self.state {
            State::Idle(idle) => idle.next_start(),
            // The launch and the registration are bounded by their own futures.
            State::Launching { .. } | State::Draining { .. } => return None,
            State::Registering { .. } | State::Running { .. } => None,
        };
        start.into_iter().chain(self.restart_at).min()
    }

    /// Starts the plugin if its time has come.
    pub(crate) fn on_timer(&mut self, actions: &mut R, now: Instant) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart(actions, now);
        } else if let State::Idle(idle) = &self.state
            && idle.next_start().is_some_and(|at| at <= now)
        {
            self.launch(actions, now);
        }
    }

    /// Handles an event.
    pub(crate) fn handle(&mut self, event: Event<R>, actions: &mut R, now: Instant) {
        match event {
            Event::Desire { desired, is_fresh } => self.desire(desired, is_fresh, actions, now),
            Event::Retry => self.retry_now(actions, now),
            Event::Launched { child, opening } => self.launched(child, opening, actions, now),
            Event::LaunchFailed(failure) => self.launch_failed(failure, now),
            Event::Opened(connection) => self.opened(connection, actions, now),
            Event::Connected(connection) => self.connected(connection, now),
            Event::Ended {
                why,
                suspended_until,
            } => self.ended(why, suspended_until, actions, now),
            Event::Disconnect => self.disconnect(actions, now),
            Event::Drained(exit) => self.drained(exit, actions, now),
        }
    }

    fn desire(&mut self, desired: Desired, is_fresh: bool, actions: &mut R, now: Instant) {
        let was_desired = self.desired == Desired::Run;
        self.desired = desired;
        match self.desired {
            Desired::Run if !was_desired || is_fresh => self.want(!was_desired, actions, now),
            Desired::Run => {}
            Desired::Rest(_) | Desired::External { .. } => self.rest(actions, now),
        }
    }

    /// The plugin shall run, for the first time or with a fresh process.
    fn want(&mut self, is_new: bool, actions: &mut R, now: Instant) {
        if is_new {
            self.retry.reset();
        }
        match &self.state {
            State::Idle(_) if is_new => self.launch(actions, now),
            // A plugin that drains to stop is launched after it has drained; one that drains to be launched is fresh already.
            State::Draining { .. } => self.drain_for(Then::Launch, now),
            State::Running { child: None, .. } => self.drain(Then::Launch, true, actions, now),
            _ => self.restart(actions, now),
        }
    }

    /// The plugin shall not run as a launched process.
    fn rest(&mut self, actions: &mut R, now: Instant) {
        self.restart_at = None;
        match &self.state {
            State::Idle(_) => self.settle(),
            // A process whose fork is under way is stopped as soon as it exists.
            State::Launching { .. } => {}
            State::Draining { .. } => self.drain_for(Then::Rest, now),
            State::Running { child: None, .. }
                if matches!(self.desired, Desired::External { .. }) => {}
            State::Registering { .. } | State::Running { .. } => {
                self.drain(Then::Rest, true, actions, now);
            }
        }
    }

    fn retry_now(&mut self, actions: &mut R, now: Instant) {
        self.retry.reset();
        if self.desired != Desired::Run {
            return;
        }
        match self.state {
            State::Idle(_) => self.launch(actions, now),
            // A failure whose process is still draining is forgotten, too.
            State::Draining { .. } => self.drain_for(Then::Launch, now),
            _ => {}
        }
    }

    /// Starts a fresh process, now or after the least distance between restarts.
    fn restart(&mut self, actions: &mut R, now: Instant) {
        let earliest = self.last_restart.map(|last| last + RESTART_DISTANCE);
        let at = earliest.map_or(now, |earliest| earliest.max(now));
        if at > now || matches!(self.state, State::Launching { .. }) {
            self.restart_at = Some(at);
            return;
        }
        self.last_restart = Some(now);
        self.restart_at = None;
        match &self.state {
            State::Idle(_) => {
                self.retry.reset();
                self.launch(actions, now);
            }
            State::Draining { .. } | State::Launching { .. } => {}
            State::Registering { .. } | State::Running { .. } => {
                self.drain(Then::Launch, true, actions, now);
            }
        }
    }

    fn launched(&mut self, child: R::Child, opening: R::Opening, actions: &mut R, now: Instant) {
        if !matches!(self.state, State::Launching { .. }) {
            return;
        }
        self.state = State::Registering {
            child,
            opening,
            since: now,
            until: now + self.start_timeout + WAIT_SLACK,
        };
        if self.desired != Desired::Run {
            self.drain(Then::Rest, true, actions, now);
        } else if self.restart_at.is_some_and(|at| at <= now) {
            self.restart(actions, now);
        }
    }

    fn launch_failed(&mut self, failure: LaunchFailure, now: Instant) {
        if !matches!(self.state, State::Launching { .. }) {
            return;
        }
        let idle = match failure {
            LaunchFailure::Refused { why } => Idle::Refused { why },
            LaunchFailure::Shortage { why } => Idle::Backoff {
                until: now + SHORTAGE_PAUSE,
                why,
            },
            LaunchFailure::Failed { why } => self.failed(why, now),
        };
        self.state = State::Idle(self.desired.idle().unwrap_or(idle));
    }

    fn opened(&mut self, connection: R::Connection, actions: &mut R, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Idle(Idle::Absent)) {
            State::Registering { child, .. } => State::Running {
                child: Some(child),
                connection,
                since: now,
            },
            state => state,
        };
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart(actions, now);
        }
    }

    fn connected(&mut self, connection: R::Connection, now: Instant) {
        let is_expected = matches!(self.desired, Desired::External { .. });
        if is_expected && matches!(self.state, State::Idle(_)) {
            self.state = State::Running {
                child: None,
                connection,
                since: now,
            };
        }
    }

    fn disconnect(&mut self, actions: &mut R, now: Instant) {
        if matches!(self.state, State::Running { child: None, .. }) {
            self.drain(Then::Rest, true, actions, now);
        }
    }

    /// The process or connection ended without a request. The exit status of the process is known once it has drained.
    fn ended(
        &mut self,
        why: String,
        suspended_until: Option<Instant>,
        actions: &mut R,
        now: Instant,
    ) {
        // A plugin that waited in vain for a daemon that did not run, or did not run itself, has not failed.
        let is_ours = |since: &Instant| suspended_until.is_some_and(|until| *since <= until);
        let then = match &self.state {
            State::Running { child: None, .. } => Then::Rest,
            State::Running { since, .. } | State::Registering { since, .. } if is_ours(since) => {
                Then::Launch
            }
            State::Running { since, .. } => Then::Failure {
                why,
                since: Some(*since),
            },
            State::Registering { .. } => Then::Failure { why, since: None },
            _ => return,
        };
        self.drain(then, false, actions, now);
    }

    fn drained(&mut self, exit: Exit, actions: &mut R, now: Instant) {
        let State::Draining { then, .. } = &mut self.state else {
            return;
        };
        let then = std::mem::replace(then, Then::Rest);
        if let Some(idle) = self.desired.idle() {
            self.state = State::Idle(idle);
            return;
        }
        match then {
            Then::Launch | Then::Rest => self.launch(actions, now),
            Then::Failure { why, since } => {
                let idle = self.after_failure(why, since, exit, now);
                self.state = State::Idle(idle);
            }
        }
    }

    /// Returns the state after a failure: `since` is the time of the registration.
    fn after_failure(
        &mut self,
        why: String,
        since: Option<Instant>,
        exit: Exit,
        now: Instant,
    ) -> Idle {
        if let Some(since) = since {
            self.retry.ran_for(now.saturating_duration_since(since));
        }
        let why = if exit.text.is_empty() {
            why
        } else {
            format!("{why} ({})", exit.text)
        };
        let is_fatal = exit
            .code
            .is_some_and(|code| self.fatal_exit.contains(&code));
        if is_fatal {
            Idle::Failed { why }
        } else {
            self.failed(why, now)
        }
    }

    fn failed(&mut self, why: String, now: Instant) -> Idle {
        match self.retry.failed(now) {
            Verdict::Backoff(until) => Idle::Backoff { until, why },
            Verdict::Exceeded(until) => Idle::RetriesExceeded { until, why },
        }
    }

    /// Without process and connection the state is the desired one, unless the plugin waits for another start.
    fn settle(&mut self) {
        if let Some(idle) = self.desired.idle() {
            self.state = State::Idle(idle);
        }
    }

    fn launch(&mut self, actions: &mut R, now: Instant) {
        self.restart_at = None;
        self.n_starts += 1;
        self.state = State::Launching {
            launch: actions.launch(),
            until: now + self.start_limit(),
        };
    }

    fn drain(&mut self, then: Then, is_graceful: bool, actions: &mut R, now: Instant) {
        let (child, connection) =
            match std::mem::replace(&mut self.state, State::Idle(Idle::Absent)) {
                State::Registering { child, .. } => (Some(child), None),
                State::Running {
                    child, connection, ..
                } => (child, Some(connection)),
                state => {
                    self.state = state;
                    return;
                }
            };
        self.state = State::Draining {
            ending: actions.end(child, connection, is_graceful),
            then,
            until: self.next_start_limit(now),
        };
    }

    /// Returns the limit for a start, with the steps before the fork.
    fn start_limit(&self) -> Duration {
        PREPARATION_LIMIT + self.start_timeout + WAIT_SLACK
    }

    /// Returns when a start that follows a drain is overdue.
    fn next_start_limit(&self, now: Instant) -> Instant {
        now + DRAIN_LIMIT + self.start_limit()
    }

    /// Changes the step after the current drain.
    fn drain_for(&mut self, next: Then, now: Instant) {
        let limit = self.next_start_limit(now);
        if let State::Draining { then, until, .. } = &mut self.state {
            *then = next;
            *until = limit;
        }
    }
}

#[cfg(test)]
mod tests;
