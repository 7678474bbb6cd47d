//! Failures of a process: backoff, exceeded retries, fatal exit statuses, suspension.

use super::super::*;
use super::harness::*;

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
fn only_a_healthy_minute_resets_the_failure_count() {
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
fn an_end_after_a_suspension_of_the_daemon_is_not_counted() {
    let mut plugin = Plugin::running();
    plugin.wait(Duration::from_secs(60));
    let resumed_at = plugin.now;
    let after_suspension = |resumed_at| Event::Ended {
        why: "connection failed".into(),
        suspended_until: Some(resumed_at),
    };
    plugin.handle(after_suspension(resumed_at));
    assert_eq!(plugin.state(), "draining");
    plugin.drained(0);
    assert_eq!(plugin.state(), "launching", "at once");
    plugin.wait(Duration::from_millis(1));
    plugin
        .launched()
        .handle(after_suspension(resumed_at))
        .drained(1);
    assert_eq!(
        plugin.state(),
        "backoff",
        "it was forked after the suspension"
    );
    assert_eq!(plugin.next_start(), Duration::from_millis(500));
    // One that was registering when the daemon stopped is started again as well.
    let mut plugin = Plugin::new();
    plugin.desire(Desired::Run).launched();
    plugin.wait(Duration::from_secs(60));
    let resumed_at = plugin.now;
    plugin.handle(after_suspension(resumed_at)).drained(1);
    assert_eq!(plugin.state(), "launching");
}
