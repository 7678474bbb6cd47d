//! One plugin with its machine, a clock and actions that record their calls.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::*;

/// Records the launches and processes of one plugin. Each process is ended once, or dropped, which kills it.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) n_launches: usize,
    /// `true` if a launch is under way.
    pub(super) is_launching: bool,
    /// The processes that were forked and of which the end has not been reported.
    pub(super) alive: Vec<u32>,
    pub(super) ended: Vec<u32>,
    /// Processes that no state took over.
    pub(super) killed: Vec<u32>,
    /// For each end, `true` if it was graceful.
    pub(super) graceful: Vec<bool>,
}

/// A process. Dropped without having been ended, it is killed.
pub(super) struct Child {
    number: u32,
    fates: Rc<RefCell<Fates>>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut fates = self.fates.borrow_mut();
        if !fates.ended.contains(&self.number) {
            fates.killed.push(self.number);
        }
    }
}

#[derive(Default)]
pub(super) struct Recorder(pub(super) Rc<RefCell<Fates>>);

impl Resources for Recorder {
    type Launch = ();
    type Child = Child;
    type Opening = ();
    type Connection = ();
    type Ending = Option<u32>;
}

impl Actions for Recorder {
    fn launch(&mut self) {
        let mut fates = self.0.borrow_mut();
        assert!(!fates.is_launching, "two launches at once");
        assert_eq!(fates.alive, [0; 0], "launched beside a process");
        fates.n_launches += 1;
        fates.is_launching = true;
    }

    fn end(
        &mut self,
        child: Option<Child>,
        connection: Option<()>,
        is_graceful: bool,
    ) -> Option<u32> {
        assert!(child.is_some() || connection.is_some(), "nothing to end");
        let number = child.as_ref().map(|child| child.number);
        let mut fates = self.0.borrow_mut();
        if let Some(number) = number {
            assert!(!fates.ended.contains(&number), "ended twice");
            fates.ended.push(number);
        }
        fates.graceful.push(is_graceful);
        number
    }
}

/// One plugin, its environment and its clock.
pub(super) struct Plugin {
    pub(super) machine: Machine<Recorder>,
    pub(super) recorder: Recorder,
    pub(super) now: Instant,
    pub(super) n_children: u32,
}

pub(super) const START_TIMEOUT: Duration = Duration::from_secs(5);

impl Plugin {
    pub(super) fn new() -> Self {
        let policy = RestartPolicy {
            jitter: 0.0,
            ..RestartPolicy::default()
        };
        let mut machine = Machine::new(policy, 1);
        machine.configure(START_TIMEOUT, vec![78]);
        Self {
            machine,
            recorder: Recorder::default(),
            now: Instant::now(),
            n_children: 0,
        }
    }

    /// A plugin that runs.
    pub(super) fn running() -> Self {
        let mut plugin = Self::new();
        plugin.desire(Desired::Run).launched().opened();
        assert_eq!(plugin.state(), "running");
        plugin
    }

    pub(super) fn handle(&mut self, event: Event<Recorder>) -> &mut Self {
        self.machine.handle(event, &mut self.recorder, self.now);
        self
    }

    pub(super) fn desire(&mut self, desired: Desired) -> &mut Self {
        self.handle(Event::Desire {
            desired,
            is_fresh: false,
        })
    }

    /// Another file or other settings, which a process does not show.
    pub(super) fn fresh(&mut self) -> &mut Self {
        self.handle(Event::Desire {
            desired: self.machine.desired().clone(),
            is_fresh: true,
        })
    }

    pub(super) fn launched(&mut self) -> &mut Self {
        self.n_children += 1;
        let child = Child {
            number: self.n_children,
            fates: Rc::clone(&self.recorder.0),
        };
        if matches!(self.machine.state(), State::Launching { .. }) {
            let mut fates = self.recorder.0.borrow_mut();
            fates.is_launching = false;
            fates.alive.push(child.number);
        }
        self.handle(Event::Launched { child, opening: () })
    }

    pub(super) fn launch_failed(&mut self, failure: LaunchFailure) -> &mut Self {
        if matches!(self.machine.state(), State::Launching { .. }) {
            self.recorder.0.borrow_mut().is_launching = false;
        }
        self.handle(Event::LaunchFailed(failure))
    }

    pub(super) fn opened(&mut self) -> &mut Self {
        self.handle(Event::Opened(()))
    }

    pub(super) fn ended(&mut self) -> &mut Self {
        self.handle(Event::Ended {
            why: "connection closed by the plugin".into(),
            suspended_until: None,
        })
    }

    pub(super) fn drained(&mut self, code: i32) -> &mut Self {
        if let State::Draining { ending, .. } = self.machine.state() {
            let ended = *ending;
            let mut fates = self.recorder.0.borrow_mut();
            fates.alive.retain(|number| Some(*number) != ended);
        }
        let text = format!("exited with status {code}");
        self.handle(Event::Drained(Exit {
            code: Some(code),
            text,
        }))
    }

    /// Ends without a request, and the machine judges the end.
    pub(super) fn crash(&mut self, code: i32) -> &mut Self {
        self.ended().drained(code)
    }

    /// Lets time pass, with all timers that fall into it.
    pub(super) fn wait(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(at) = self.machine.next_timer().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.machine.on_timer(&mut self.recorder, self.now);
            assert!(
                self.machine.next_timer().is_none_or(|next| next > self.now),
                "a timer that was served stays due"
            );
        }
        self.now = end;
        self
    }

    pub(super) fn state(&self) -> &'static str {
        match self.machine.state() {
            State::Idle(Idle::Absent) => "absent",
            State::Idle(Idle::Available) => "available",
            State::Idle(Idle::Untrusted) => "untrusted",
            State::Idle(Idle::Disabled) => "disabled",
            State::Idle(Idle::Refused { .. }) => "refused",
            State::Idle(Idle::Failed { .. }) => "failed",
            State::Idle(Idle::Backoff { .. }) => "backoff",
            State::Idle(Idle::RetriesExceeded { .. }) => "retries exceeded",
            State::Idle(Idle::Gone) => "gone",
            State::Launching { .. } => "launching",
            State::Registering { .. } => "registering",
            State::Running { child: Some(_), .. } => "running",
            State::Running { child: None, .. } => "connected",
            State::Draining { .. } => "draining",
        }
    }

    pub(super) fn why(&self) -> &str {
        match self.machine.state() {
            State::Idle(idle) => idle.why(),
            _ => panic!("{} has no reason", self.state()),
        }
    }

    /// Returns the time from now until the next start by itself.
    pub(super) fn next_start(&self) -> Duration {
        self.machine.next_timer().expect("a timer") - self.now
    }

    pub(super) fn n_launches(&self) -> usize {
        self.recorder.0.borrow().n_launches
    }

    pub(super) fn was_graceful(&self) -> bool {
        *self.recorder.0.borrow().graceful.last().expect("an end")
    }

    pub(super) fn n_killed(&self) -> usize {
        self.recorder.0.borrow().killed.len()
    }
}

pub(super) fn disabled() -> Desired {
    Desired::Rest(Idle::Disabled)
}

pub(super) fn failure() -> LaunchFailure {
    LaunchFailure::Failed {
        why: "there is no such file".into(),
    }
}
