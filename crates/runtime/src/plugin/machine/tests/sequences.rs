//! Late events, and random sequences of events.

use proptest::prelude::*;

use super::super::*;
use super::harness::*;

#[test]
fn a_late_event_never_changes_a_newer_state() {
    // The end of an earlier attempt.
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

/// An event of a plugin in the property test.
#[derive(Debug, Clone)]
enum Step {
    Desire(Desired, bool),
    Retry,
    Disconnect,
    Connected,
    /// The event that the state waits for, in one of several ways.
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
    fn every_sequence_has_at_most_one_process_and_reaches_the_desired_state(
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
        // A request restarts a failed plugin; then the plugin ends for good.
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
