//! The machine in virtual time, with actions that only record that they were called.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// What became of the processes: each is ended once, or is dropped, which kills it.
#[derive(Debug, Default)]
struct Fates {
    n_launches: usize,
    /// Whether a launch is under way.
    is_launching: bool,
    /// The processes that were forked and of which the end has not been reported.
    alive: Vec<u32>,
    ended: Vec<u32>,
    /// Processes that no state took over.
    killed: Vec<u32>,
    /// Whether each end was graceful.
    graceful: Vec<bool>,
}

/// A process. Dropped without having been ended, it is killed.
struct Child {
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
struct Recorder(Rc<RefCell<Fates>>);

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
struct Plugin {
    machine: Machine<Recorder>,
    recorder: Recorder,
    now: Instant,
    n_children: u32,
}

const START_TIMEOUT: Duration = Duration::from_secs(5);

impl Plugin {
    fn new() -> Self {
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
    fn running() -> Self {
        let mut plugin = Self::new();
        plugin.desire(Desired::Run).launched().opened();
        assert_eq!(plugin.state(), "running");
        plugin
    }

    fn handle(&mut self, event: Event<Recorder>) -> &mut Self {
        self.machine.handle(event, &mut self.recorder, self.now);
        self
    }

    fn desire(&mut self, desired: Desired) -> &mut Self {
        self.handle(Event::Desire {
            desired,
            is_fresh: false,
        })
    }

    /// Another file or other settings, which a process does not show.
    fn fresh(&mut self) -> &mut Self {
        self.handle(Event::Desire {
            desired: self.machine.desired().clone(),
            is_fresh: true,
        })
    }

    fn launched(&mut self) -> &mut Self {
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

    fn launch_failed(&mut self, failure: LaunchFailure) -> &mut Self {
        if matches!(self.machine.state(), State::Launching { .. }) {
            self.recorder.0.borrow_mut().is_launching = false;
        }
        self.handle(Event::LaunchFailed(failure))
    }

    fn opened(&mut self) -> &mut Self {
        self.handle(Event::Opened(()))
    }

    fn ended(&mut self) -> &mut Self {
        self.handle(Event::Ended {
            why: "connection closed by the plugin".into(),
            suspended_since: None,
        })
    }

    fn drained(&mut self, code: i32) -> &mut Self {
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

    /// Ends unasked and is judged.
    fn crash(&mut self, code: i32) -> &mut Self {
        self.ended().drained(code)
    }

    /// Lets time pass, with all timers that fall into it.
    fn wait(&mut self, time: Duration) -> &mut Self {
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

    fn state(&self) -> &'static str {
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

    fn why(&self) -> &str {
        match self.machine.state() {
            State::Idle(idle) => idle.why(),
            _ => panic!("{} has no reason", self.state()),
        }
    }

    /// How long from now until the next start by itself.
    fn next_start(&self) -> Duration {
        self.machine.next_timer().expect("a timer") - self.now
    }

    fn n_launches(&self) -> usize {
        self.recorder.0.borrow().n_launches
    }

    fn was_graceful(&self) -> bool {
        *self.recorder.0.borrow().graceful.last().expect("an end")
    }

    fn n_killed(&self) -> usize {
        self.recorder.0.borrow().killed.len()
    }
}

fn disabled() -> Desired {
    Desired::Rest(Idle::Disabled)
}

fn failure() -> LaunchFailure {
    LaunchFailure::Failed {
        why: "there is no such file".into(),
    }
}

#[test]
fn a_desired_plugin_is_launched_registers_and_runs() {
    let mut plugin = Plugin::new();
    assert_eq!(plugin.state(), "absent");
    plugin.desire(Desired::Run);
    assert_eq!((plugin.state(), plugin.n_launches()), ("launching", 1));
    let State::Launching { until, .. } = plugin.machine.state() else {
        panic!("launching");
    };
    assert_eq!(
        *until,
        plugin.now + PREPARATION_LIMIT + START_TIMEOUT + WAIT_SLACK
    );
    plugin.launched();
    let State::Registering { until, .. } = plugin.machine.state() else {
        panic!("registering");
    };
    assert_eq!(*until, plugin.now + START_TIMEOUT + WAIT_SLACK);
    plugin.opened();
    assert_eq!(plugin.state(), "running");
    assert_eq!(plugin.machine.next_timer(), None);
    plugin.desire(Desired::Run).handle(Event::Retry);
    assert_eq!((plugin.state(), plugin.n_launches()), ("running", 1));
}

#[test]
fn a_plugin_that_is_not_desired_stops_from_every_state() {
    type Reach = fn(&mut Plugin);
    let reaches: [(&str, Reach); 7] = [
        ("absent", |_| {}),
        ("launching", |plugin| {
            plugin.desire(Desired::Run);
        }),
        ("registering", |plugin| {
            plugin.desire(Desired::Run).launched();
        }),
        ("running", |plugin| {
            plugin.desire(Desired::Run).launched().opened();
        }),
        ("draining", |plugin| {
            plugin.desire(Desired::Run).launched().opened().ended();
        }),
        ("backoff", |plugin| {
            plugin.desire(Desired::Run).launch_failed(failure());
        }),
        ("failed", |plugin| {
            plugin.desire(Desired::Run).launched().opened().crash(78);
        }),
    ];
    for (state, reach) in reaches {
        let mut plugin = Plugin::new();
        reach(&mut plugin);
        assert_eq!(plugin.state(), state);
        plugin.desire(disabled());
        if plugin.state() == "launching" {
            plugin.launched();
            assert_eq!(plugin.state(), "draining", "a late fork is ended at once");
        }
        if plugin.state() == "draining" {
            plugin.drained(0);
        }
        assert_eq!(plugin.state(), "disabled", "from {state}");
        assert_eq!(plugin.machine.next_timer(), None, "from {state}");
        assert_eq!(plugin.n_killed(), 0, "from {state}");
        plugin.desire(Desired::Run);
        assert_eq!(plugin.state(), "launching", "from {state}");
    }
}

#[test]
fn a_launch_that_fails_after_the_plugin_was_disabled_leaves_it_disabled() {
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run).desire(disabled());
    plugin.launch_failed(failure());
    assert_eq!(plugin.state(), "disabled");
    assert_eq!(plugin.machine.next_timer(), None);
}

#[test]
fn a_plugin_that_is_enabled_again_while_it_drains_gets_a_fresh_process() {
    let mut plugin = Plugin::running();
    plugin.desire(disabled()).desire(Desired::Run);
    assert_eq!(plugin.state(), "draining");
    assert!(plugin.was_graceful());
    plugin.drained(0);
    assert_eq!((plugin.state(), plugin.n_launches()), ("launching", 2));
}

#[test]
fn a_change_gives_a_running_plugin_a_fresh_process() {
    let mut plugin = Plugin::running();
    plugin.fresh();
    assert_eq!(plugin.state(), "draining");
    assert!(plugin.was_graceful());
    let State::Draining { until, then, .. } = plugin.machine.state() else {
        panic!("draining");
    };
    assert_eq!(*then, Then::Launch);
    assert_eq!(
        *until,
        plugin.now + DRAIN_LIMIT + PREPARATION_LIMIT + START_TIMEOUT + WAIT_SLACK
    );
    plugin.drained(1).launched().opened();
    assert_eq!((plugin.state(), plugin.n_launches()), ("running", 2));
}

#[test]
fn two_restarts_that_follow_changes_keep_their_distance() {
    let mut plugin = Plugin::running();
    plugin.fresh().drained(0).launched().opened();
    plugin.wait(Duration::from_millis(500)).fresh();
    assert_eq!(plugin.state(), "running", "the second restart waits");
    assert!(!plugin.machine.is_settled());
    assert_eq!(plugin.next_start(), Duration::from_millis(1500));
    plugin.fresh().wait(Duration::from_millis(1499));
    assert_eq!(plugin.state(), "running");
    plugin.wait(Duration::from_millis(1));
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0).launched().opened();
    assert_eq!((plugin.state(), plugin.n_launches()), ("running", 3));
    assert!(plugin.machine.is_settled());
}

#[test]
fn a_change_during_a_launch_restarts_what_was_launched() {
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run).fresh();
    assert_eq!((plugin.state(), plugin.n_launches()), ("launching", 1));
    plugin.launched();
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0);
    assert_eq!((plugin.state(), plugin.n_launches()), ("launching", 2));
}

#[test]
fn a_due_restart_is_forgotten_when_the_plugin_is_disabled() {
    let mut plugin = Plugin::running();
    plugin.fresh().drained(0).launched().opened().fresh();
    plugin.desire(disabled()).drained(0);
    assert_eq!(plugin.state(), "disabled");
    plugin.wait(Duration::from_secs(10));
    assert_eq!((plugin.state(), plugin.n_launches()), ("disabled", 2));
}

#[test]
fn a_failed_launch_is_retried_with_doubling_delays() {
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run);
    for delay in [500, 1000, 2000, 4000] {
        plugin.launch_failed(failure());
        assert_eq!(
            (plugin.state(), plugin.why()),
            ("backoff", "there is no such file")
        );
        assert_eq!(plugin.next_start(), Duration::from_millis(delay));
        plugin.wait(Duration::from_millis(delay));
        assert_eq!(plugin.state(), "launching");
    }
}

#[test]
fn a_shortage_of_the_daemon_is_retried_every_second_and_never_counted() {
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run);
    for _ in 0..50 {
        plugin.launch_failed(LaunchFailure::Shortage {
            why: "too many open files".into(),
        });
        assert_eq!(plugin.state(), "backoff");
        assert_eq!(plugin.next_start(), SHORTAGE_PAUSE);
        plugin.wait(SHORTAGE_PAUSE);
        assert_eq!(plugin.state(), "launching");
    }
    plugin.launch_failed(failure());
    assert_eq!(plugin.next_start(), Duration::from_millis(500));
}

#[test]
fn a_refused_executable_is_tried_again_only_after_a_change_or_on_request() {
    let refused = || LaunchFailure::Refused {
        why: "its checksum differs".into(),
    };
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run).launch_failed(refused());
    assert_eq!(
        (plugin.state(), plugin.why()),
        ("refused", "its checksum differs")
    );
    plugin.wait(Duration::from_secs(3600)).desire(Desired::Run);
    assert_eq!((plugin.state(), plugin.n_launches()), ("refused", 1));
    plugin.fresh();
    assert_eq!(plugin.state(), "launching");
    plugin.launch_failed(refused()).handle(Event::Retry);
    assert_eq!(plugin.state(), "launching");
}

#[test]
fn ten_failures_in_a_row_exceed_the_retries_and_attempts_are_rare_then() {
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run);
    for n in 1..=10 {
        assert_eq!(plugin.state(), "launching", "before failure {n}");
        plugin.launched().crash(1);
        let expected = if n < 10 {
            "backoff"
        } else {
            "retries exceeded"
        };
        assert_eq!(plugin.state(), expected, "after failure {n}");
        if n < 10 {
            plugin.wait(Duration::from_secs(60));
        }
    }
    for _ in 0..3 {
        assert_eq!(plugin.next_start(), Duration::from_secs(300));
        plugin.wait(Duration::from_secs(299));
        assert_eq!(plugin.state(), "retries exceeded");
        plugin.wait(Duration::from_secs(1));
        assert_eq!(plugin.state(), "launching");
        plugin.launched().crash(1);
        assert_eq!(plugin.state(), "retries exceeded");
    }
    plugin.handle(Event::Retry).launched().crash(1);
    assert_eq!(
        plugin.next_start(),
        Duration::from_millis(500),
        "a request forgets the failures"
    );
}

#[test]
fn only_a_healthy_minute_forgets_earlier_failures() {
    let mut plugin = Plugin::running();
    let mut restart = |ran_for: u64| {
        plugin.wait(Duration::from_secs(ran_for)).crash(1);
        let delay = plugin.next_start();
        plugin.wait(delay).launched().opened();
        delay
    };
    assert_eq!(restart(50), Duration::from_millis(500));
    assert_eq!(restart(50), Duration::from_secs(1));
    assert_eq!(restart(59), Duration::from_secs(2));
    assert_eq!(restart(60), Duration::from_millis(500));
}

#[test]
fn a_fatal_exit_status_is_final_until_a_change_or_a_request() {
    let mut plugin = Plugin::running();
    plugin.crash(78);
    assert_eq!(plugin.state(), "failed");
    assert_eq!(
        plugin.why(),
        "connection closed by the plugin (exited with status 78)"
    );
    plugin.wait(Duration::from_secs(3600));
    assert_eq!((plugin.state(), plugin.n_launches()), ("failed", 1));
    plugin.fresh();
    assert_eq!(plugin.state(), "launching");
    plugin.launched().crash(78);
    assert_eq!(plugin.state(), "failed", "before it registered");
    plugin.handle(Event::Retry);
    assert_eq!(plugin.state(), "launching");
    plugin.launched().opened();
    plugin.machine.configure(START_TIMEOUT, vec![3]);
    plugin.crash(78);
    assert_eq!(plugin.state(), "backoff", "78 is not fatal any more");
}

#[test]
fn a_request_while_a_failed_plugin_drains_launches_it_next() {
    let mut plugin = Plugin::running();
    plugin.ended().handle(Event::Retry);
    assert_eq!(plugin.state(), "draining");
    plugin.drained(78);
    assert_eq!(plugin.state(), "launching");
}

#[test]
fn a_retry_starts_no_plugin_that_is_not_desired() {
    let mut plugin = Plugin::new();
    for desired in [
        disabled(),
        Desired::Rest(Idle::Untrusted),
        Desired::External {
            is_configured: true,
        },
    ] {
        plugin.desire(desired).handle(Event::Retry);
        assert_eq!(plugin.n_launches(), 0);
    }
}

#[test]
fn an_end_after_a_suspension_of_the_daemon_is_not_counted() {
    let mut plugin = Plugin::running();
    let began = plugin.now;
    plugin.wait(Duration::from_secs(60));
    let after_suspension = |began| Event::Ended {
        why: "connection failed".into(),
        suspended_since: Some(began),
    };
    plugin.handle(after_suspension(began));
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0);
    assert_eq!(plugin.state(), "launching", "at once");
    plugin.launched().handle(after_suspension(began)).drained(1);
    assert_eq!(
        plugin.state(),
        "backoff",
        "it was forked after the suspension"
    );
    assert_eq!(plugin.next_start(), Duration::from_millis(500));
    // One that was registering when the daemon stopped is started again as well.
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run).launched();
    let began = plugin.now;
    plugin.wait(Duration::from_secs(60));
    plugin.handle(after_suspension(began)).drained(1);
    assert_eq!(plugin.state(), "launching");
}

#[test]
fn an_external_plugin_connects_leaves_and_is_forgotten_unless_configured() {
    for (is_configured, rests) in [(true, "absent"), (false, "gone")] {
        let mut plugin = Plugin::new();
        plugin.desire(Desired::External { is_configured });
        assert_eq!(plugin.state(), rests);
        plugin.handle(Event::Connected(()));
        assert_eq!(plugin.state(), "connected");
        plugin.desire(Desired::External { is_configured });
        assert_eq!(plugin.state(), "connected", "a reload leaves it alone");
        plugin.ended();
        assert_eq!(plugin.state(), "draining");
        assert!(!plugin.was_graceful());
        plugin.drained(0);
        assert_eq!(plugin.state(), rests);
        assert_eq!(plugin.machine.is_gone(), !is_configured);
        plugin
            .handle(Event::Connected(()))
            .handle(Event::Disconnect);
        assert!(plugin.was_graceful());
        plugin.drained(0);
        assert_eq!((plugin.state(), plugin.n_launches()), (rests, 0));
    }
}

#[test]
fn a_disabled_external_plugin_is_disconnected() {
    let mut plugin = Plugin::new();
    plugin
        .desire(Desired::External {
            is_configured: true,
        })
        .handle(Event::Connected(()))
        .desire(disabled());
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0);
    assert_eq!(plugin.state(), "disabled");
}

#[test]
fn a_file_takes_the_place_of_a_connected_external_plugin() {
    let mut plugin = Plugin::new();
    plugin
        .desire(Desired::External {
            is_configured: false,
        })
        .handle(Event::Connected(()))
        .desire(Desired::Run);
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0).launched().opened();
    assert_eq!(plugin.state(), "running");
}

#[test]
fn a_plugin_whose_file_is_gone_ends_and_is_absent_or_forgotten() {
    for (is_configured, rests) in [(true, "absent"), (false, "gone")] {
        let mut plugin = Plugin::running();
        plugin.desire(Desired::External { is_configured });
        assert_eq!(plugin.state(), "draining");
        assert!(plugin.was_graceful());
        plugin.drained(0);
        assert_eq!(plugin.state(), rests);
    }
}

#[test]
fn a_disconnect_does_not_end_a_launched_plugin() {
    let mut plugin = Plugin::running();
    plugin.handle(Event::Disconnect);
    assert_eq!(plugin.state(), "running");
}

#[test]
fn a_late_event_never_disturbs_what_came_after_it() {
    // The end of an attempt that is over.
    let mut plugin = Plugin::running();
    plugin.crash(1).ended().drained(78);
    assert_eq!(plugin.state(), "backoff");
    plugin.wait(Duration::from_secs(1)).ended().drained(78);
    assert_eq!(plugin.state(), "launching");
    // A process and connections that no state waits for.
    plugin.opened().handle(Event::Connected(()));
    assert_eq!(plugin.state(), "launching");
    plugin.launched().launched();
    assert_eq!((plugin.state(), plugin.n_killed()), ("registering", 1));
    plugin.opened().launched().launch_failed(failure());
    assert_eq!((plugin.state(), plugin.n_killed()), ("running", 2));
    plugin.handle(Event::Connected(())).drained(78);
    assert_eq!(plugin.state(), "running");
}

/// What happens to a plugin, in the property test.
#[derive(Debug, Clone)]
enum Step {
    Desire(Desired, bool),
    Retry,
    Disconnect,
    Connected,
    /// What the state waits for, in one of several ways.
    Outcome(u8),
    /// An event that the state may not wait for.
    Stray(u8),
    Wait(u64),
}

fn desires() -> impl Strategy<Value = Desired> {
    prop_oneof![
        4 => Just(Desired::Run),
        1 => Just(disabled()),
        1 => Just(Desired::Rest(Idle::Untrusted)),
        1 => any::<bool>().prop_map(|is_configured| Desired::External { is_configured }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (desires(), any::<bool>()).prop_map(|(desired, is_fresh)| Step::Desire(desired, is_fresh)),
        1 => Just(Step::Retry),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Connected),
        6 => any::<u8>().prop_map(Step::Outcome),
        1 => any::<u8>().prop_map(Step::Stray),
        2 => (0_u64..70_000).prop_map(Step::Wait),
    ]
}

impl Plugin {
    fn step(&mut self, step: Step) {
        match step {
            Step::Desire(desired, is_fresh) => {
                self.handle(Event::Desire { desired, is_fresh });
            }
            Step::Retry => drop(self.handle(Event::Retry)),
            Step::Disconnect => drop(self.handle(Event::Disconnect)),
            Step::Connected => drop(self.handle(Event::Connected(()))),
            Step::Outcome(way) => self.outcome(way),
            Step::Stray(0..64) => drop(self.launched()),
            Step::Stray(64..128) => drop(self.opened()),
            Step::Stray(128..192) => drop(self.launch_failed(failure())),
            Step::Stray(_) => drop(self.drained(1)),
            Step::Wait(millis) => drop(self.wait(Duration::from_millis(millis))),
        }
    }

    fn outcome(&mut self, way: u8) {
        match (self.machine.state(), way % 4) {
            (State::Idle(_), _) => {}
            (State::Launching { .. }, 0) => drop(self.launch_failed(failure())),
            (State::Launching { .. }, 1) => {
                let why = String::new();
                let failure = match way {
                    0..128 => LaunchFailure::Refused { why },
                    _ => LaunchFailure::Shortage { why },
                };
                self.launch_failed(failure);
            }
            (State::Launching { .. }, _) => drop(self.launched()),
            (State::Registering { .. }, 0) | (State::Running { .. }, _) => drop(self.ended()),
            (State::Registering { .. }, _) => drop(self.opened()),
            (State::Draining { .. }, 0) => drop(self.drained(78)),
            (State::Draining { .. }, code) => drop(self.drained(code.into())),
        }
    }

    /// Lets everything that is under way succeed; returns whether nothing is left to happen.
    fn comes_to_rest(&mut self) -> bool {
        for _ in 0..32 {
            match self.machine.state() {
                State::Launching { .. } => drop(self.launched()),
                State::Registering { .. } => drop(self.opened()),
                State::Draining { .. } => drop(self.drained(0)),
                State::Idle(_) | State::Running { .. } => match self.machine.next_timer() {
                    Some(at) => drop(self.wait(at.saturating_duration_since(self.now))),
                    None => return true,
                },
            }
        }
        false
    }
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_process_at_most_and_the_desired_state_is_reached(
        sequence in prop::collection::vec(steps(), 0..60),
    ) {
        let mut plugin = Plugin::new();
        let mut n_strays = 0;
        for step in sequence {
            let before = plugin.n_children;
            let was_expected = matches!(plugin.machine.state(), State::Launching { .. });
            plugin.step(step);
            if plugin.n_children > before && !was_expected {
                n_strays += 1;
            }
            prop_assert!(plugin.recorder.0.borrow().alive.len() <= 1);
            // A process that was forked for the plugin is never dropped without an end.
            prop_assert_eq!(plugin.n_killed(), n_strays);
        }
        prop_assert!(plugin.comes_to_rest());
        let state = plugin.state();
        match plugin.machine.desired() {
            Desired::Run => prop_assert!(["running", "refused", "failed"].contains(&state), "{state}"),
            Desired::Rest(idle) => prop_assert_eq!(
                matches!(plugin.machine.state(), State::Idle(now) if now == idle), true, "{}", state
            ),
            Desired::External { is_configured: true } => prop_assert!(["connected", "absent"].contains(&state), "{state}"),
            Desired::External { is_configured: false } => prop_assert!(["connected", "gone"].contains(&state), "{state}"),
        }
        let n_alive = plugin.recorder.0.borrow().alive.len();
        prop_assert_eq!(n_alive, usize::from(state == "running"));
        // A request reaches what is wanted where a failure stood in the way; then the plugin ends for good.
        plugin.handle(Event::Retry);
        prop_assert!(plugin.comes_to_rest());
        if *plugin.machine.desired() == Desired::Run {
            prop_assert_eq!(plugin.state(), "running");
        }
        plugin.desire(Desired::Rest(Idle::Gone));
        prop_assert!(plugin.comes_to_rest() && plugin.machine.is_gone());
        prop_assert_eq!(plugin.n_killed(), n_strays);
        let fates = plugin.recorder.0.borrow();
        prop_assert!(fates.alive.is_empty());
        prop_assert_eq!(fates.ended.len() + n_strays, plugin.n_children as usize);
    }
}
