//! Plugins that are not desired any more.

use super::super::*;
use super::harness::*;

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
