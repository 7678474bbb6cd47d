//! External plugins.

use super::super::*;
use super::harness::*;

#[test]
fn an_external_plugin_connects_disconnects_and_is_removed_unless_configured() {
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
fn a_disconnect_does_not_end_a_launched_plugin() {
    let mut plugin = Plugin::running();
    plugin.handle(Event::Disconnect);
    assert_eq!(plugin.state(), "running");
}
