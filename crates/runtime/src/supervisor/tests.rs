//! The whole life of a plugin in virtual time.

use std::time::Duration;

use super::*;

/// A supervisor and its clock.
struct Life {
    supervisor: Supervisor,
    now: Instant,
}

impl Life {
    fn new() -> Self {
        let policy = RestartPolicy {
            jitter: 0.0,
            ..RestartPolicy::default()
        };
        Self {
            supervisor: Supervisor::new(policy, 7),
            now: Instant::now(),
        }
    }

    fn running() -> Self {
        let mut life = Self::new();
        assert_eq!(life.on(Event::Enable), Action::Launch);
        life.register();
        life
    }

    fn on(&mut self, event: Event) -> Action {
        self.supervisor.handle(event, self.now)
    }

    fn register(&mut self) {
        assert_eq!(self.on(Event::Started), Action::None);
        assert_eq!(self.on(Event::Registered), Action::None);
        assert_eq!(self.state(), State::Running { since: self.now });
    }

    fn crash(&mut self) {
        assert_eq!(self.on(Event::Ended), Action::CleanUp);
        assert_eq!(self.state(), State::Crashed);
        assert_eq!(self.on(Event::Cleaned), Action::None);
    }

    fn state(&self) -> State {
        self.supervisor.state()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Waits for the next start and tells how long that took, or `None` when there will be none.
    fn wait_for_launch(&mut self) -> Option<Duration> {
        let until = self.supervisor.next_timeout()?;
        let delay = until - self.now;
        self.now = until - Duration::from_millis(1);
        assert_eq!(
            self.supervisor.handle_timeout(self.now),
            Action::None,
            "too early"
        );
        self.now = until;
        assert_eq!(self.supervisor.handle_timeout(self.now), Action::Launch);
        Some(delay)
    }
}

#[test]
fn a_plugin_that_crashes_is_restarted_with_growing_delays_and_given_up() {
    let mut life = Life::running();
    let mut delays = Vec::new();
    loop {
        life.crash();
        let Some(delay) = life.wait_for_launch() else {
            break;
        };
        delays.push(delay.as_secs());
        life.register();
    }
    // 2 + 4 + 8 + 16 + 30 + 30 + 30 = 120 seconds.
    assert_eq!(delays, [2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(life.state(), State::RetriesExceeded);
}

#[test]
fn l10_a_registration_does_not_reset_the_count_but_good_health_does() {
    let mut life = Life::running();
    life.crash();
    assert_eq!(life.wait_for_launch(), Some(Duration::from_secs(2)));
    life.register();
    life.pass(59);
    life.crash();
    assert_eq!(
        life.wait_for_launch(),
        Some(Duration::from_secs(4)),
        "59 seconds of health are not enough"
    );
    life.register();
    life.pass(60);
    life.crash();
    assert_eq!(
        life.wait_for_launch(),
        Some(Duration::from_secs(2)),
        "60 seconds are"
    );
}

#[test]
fn a_launch_that_fails_counts_as_a_failure() {
    let mut life = Life::new();
    assert_eq!(life.on(Event::Enable), Action::Launch);
    let mut n_launches = 1;
    while life.state() == State::Launching {
        assert_eq!(life.on(Event::Failed), Action::None);
        n_launches += usize::from(life.wait_for_launch().is_some());
    }
    assert_eq!((life.state(), n_launches), (State::RetriesExceeded, 8));
}

#[test]
fn a_person_gives_a_plugin_that_was_given_up_another_chance() {
    for event in [Event::Enable, Event::Restart] {
        let mut life = Life::running();
        life.pass(1);
        life.crash();
        life.pass(600);
        assert_eq!(life.supervisor.handle_timeout(life.now), Action::Launch);
        assert_eq!(life.on(Event::Failed), Action::None);
        assert_eq!(life.state(), State::RetriesExceeded);
        assert_eq!(life.on(event), Action::Launch);
        assert_eq!(life.on(Event::Failed), Action::None);
        assert_eq!(
            life.wait_for_launch(),
            Some(Duration::from_secs(2)),
            "the count began anew"
        );
    }
}

#[test]
fn stopping_drains_and_stays_stopped() {
    let mut life = Life::running();
    assert_eq!(life.on(Event::Disable), Action::Drain);
    assert_eq!(life.on(Event::Disable), Action::None, "once is enough");
    assert_eq!(
        life.on(Event::Ended),
        Action::None,
        "an end that was asked for is no crash"
    );
    assert_eq!(life.on(Event::Drained), Action::None);
    assert_eq!(life.state(), State::Stopped);
    assert_eq!(life.on(Event::Restart), Action::None, "nobody wants it");
}

#[test]
fn a_plugin_enabled_again_while_it_drains_is_started_afterwards() {
    let mut life = Life::running();
    assert_eq!(life.on(Event::Disable), Action::Drain);
    assert_eq!(life.on(Event::Enable), Action::None);
    assert_eq!(life.on(Event::Drained), Action::Launch);
}

#[test]
fn a_restart_is_a_drain_and_a_launch() {
    let mut life = Life::running();
    assert_eq!(life.on(Event::Restart), Action::Drain);
    assert_eq!(life.on(Event::Drained), Action::Launch);
}

#[test]
fn restarts_that_follow_each_other_keep_a_distance() {
    // A plugin that writes to its own file at each start, say.
    for crashes in [false, true] {
        let mut life = Life::running();
        let mut launches = Vec::new();
        let begin = life.now;
        for _ in 0..5 {
            if crashes {
                life.crash();
            }
            life.now += Duration::from_millis(250);
            let mut action = life.on(Event::Restart);
            if action == Action::None {
                life.now = life.supervisor.next_timeout().expect("it is not forgotten");
                action = life.supervisor.handle_timeout(life.now);
            }
            if action == Action::Drain {
                action = life.on(Event::Drained);
            }
            assert_eq!(action, Action::Launch);
            launches.push((life.now - begin).as_millis());
            life.register();
        }
        assert_eq!(launches, [250, 2250, 4250, 6250, 8250]);
    }
}

#[test]
fn a_change_during_a_launch_is_not_forgotten() {
    let mut life = Life::new();
    assert_eq!(life.on(Event::Enable), Action::Launch);
    assert_eq!(life.on(Event::Restart), Action::None);
    assert_eq!(life.supervisor.next_timeout(), None);
    assert_eq!(life.on(Event::Started), Action::None);
    assert_eq!(life.supervisor.next_timeout(), Some(life.now));
    assert_eq!(life.supervisor.handle_timeout(life.now), Action::Drain);
    assert_eq!(life.on(Event::Drained), Action::Launch);
    life.register();
    assert_eq!(life.supervisor.next_timeout(), None);
}

#[test]
fn a_restart_that_waits_ends_with_the_plugin() {
    let mut life = Life::running();
    assert_eq!(life.on(Event::Restart), Action::Drain);
    assert_eq!(life.on(Event::Drained), Action::Launch);
    life.register();
    assert_eq!(life.on(Event::Restart), Action::None);
    assert_eq!(life.on(Event::Disable), Action::Drain);
    assert_eq!(life.on(Event::Drained), Action::None);
    assert_eq!(life.supervisor.next_timeout(), None);
}

#[test]
fn disabled_while_launching_it_is_stopped_as_soon_as_it_runs() {
    let mut life = Life::new();
    assert_eq!(life.on(Event::Enable), Action::Launch);
    assert_eq!(life.on(Event::Disable), Action::None);
    assert_eq!(life.on(Event::Started), Action::Drain);
    assert_eq!(life.on(Event::Drained), Action::None);
    assert_eq!(life.state(), State::Stopped);
}

#[test]
fn disabled_while_it_waits_or_is_cleared_away_it_stays_stopped() {
    let mut life = Life::running();
    life.crash();
    assert_eq!(life.on(Event::Disable), Action::None);
    assert_eq!(life.state(), State::Stopped);
    assert_eq!(life.supervisor.next_timeout(), None);

    let mut life = Life::running();
    assert_eq!(life.on(Event::Ended), Action::CleanUp);
    assert_eq!(life.on(Event::Disable), Action::None);
    assert_eq!(life.on(Event::Cleaned), Action::None);
    assert_eq!(life.state(), State::Stopped);
}

#[test]
fn a_late_event_of_an_earlier_process_changes_nothing() {
    let mut life = Life::running();
    let state = life.state();
    for event in [
        Event::Started,
        Event::Failed,
        Event::Registered,
        Event::Cleaned,
        Event::Drained,
    ] {
        life.pass(1);
        assert_eq!(life.on(event), Action::None, "{event:?}");
        assert_eq!(life.state(), state, "{event:?}");
    }
}
