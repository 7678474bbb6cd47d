//! Restarts after changes.

use super::super::*;
use super::harness::*;

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
fn a_change_during_a_launch_restarts_the_launched_process() {
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
