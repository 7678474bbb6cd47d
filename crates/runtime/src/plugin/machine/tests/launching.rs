//! Launches: their outcomes, delays and retries.

use super::super::*;
use super::harness::*;

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
