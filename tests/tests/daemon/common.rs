//! Scripts and daemons that several modules use.

use std::sync::Arc;

use keyway_runtime::Config;
use keyway_tests::daemon::{Home, plugin};
use keyway_tests::script::{QueryResponse, Script};
use keyway_tests::{Behaviour, TestDaemon};

/// The misbehaving plugin.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

/// The daemon as a process.
pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_test-daemon");

/// The id that most queries are for.
pub(crate) const ID: &str = "db/password";

/// A provider of these secrets, with the realm `db/**`.
pub(crate) fn provider_of(secrets: &[(&str, &str)]) -> Script {
    let secrets = secrets.iter();
    let secrets = secrets.map(|(id, value)| ((*id).to_owned(), (*value).to_owned()));
    Script {
        pattern: Some("db/**".into()),
        secrets: Some(secrets.collect()),
        ..Script::default()
    }
}

/// A provider of one value of [`ID`].
pub(crate) fn provider(value: &str) -> Script {
    provider_of(&[(ID, value)])
}

/// A provider that holds [`ID`], with this response.
pub(crate) fn responding(response: QueryResponse) -> Script {
    Script {
        response,
        ..provider("right")
    }
}

/// A home with these providers, each with its priority.
pub(crate) fn home_with(providers: &[(&str, i64, Script)]) -> (Arc<Home>, Config) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    for (name, priority, script) in providers {
        home.play(name, script);
        plugin(&mut config, name).priority = Some(*priority);
    }
    (home.into(), config)
}

/// A home with `hi`, which ranks first, and `lo`. Both hold [`ID`], with the values `right` and `lower`.
pub(crate) fn pair() -> (Arc<Home>, Config) {
    home_with(&[("hi", 10, provider("right")), ("lo", 0, provider("lower"))])
}

/// Starts a daemon with these providers and waits until they run.
pub(crate) async fn start_with(providers: &[(&str, i64, Script)]) -> TestDaemon {
    let (home, config) = home_with(providers);
    let daemon = TestDaemon::with_config(home, config);
    for (name, _, _) in providers {
        daemon.wait_for_running(&[name]).await;
    }
    daemon
}

/// Starts a daemon with the providers of [`pair`] and waits until they run.
pub(crate) async fn start_pair() -> TestDaemon {
    start_pair_in(pair()).await
}

/// The same in a home and with a configuration that began as those of [`pair`].
pub(crate) async fn start_pair_in((home, config): (Arc<Home>, Config)) -> TestDaemon {
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["hi", "lo"]).await;
    daemon
}

/// Starts a daemon with plugins of these behaviours, and waits until they run.
pub(crate) async fn start_behaving(behaviours: &[(&str, Behaviour)]) -> TestDaemon {
    let daemon = TestDaemon::start(PLUGIN, behaviours);
    for (name, _) in behaviours {
        daemon.wait_for_running(&[name]).await;
    }
    daemon
}

/// Number of calls that a plugin has received.
pub(crate) fn n_calls(daemon: &TestDaemon, name: &str) -> usize {
    let events = daemon.home.events(name);
    events
        .iter()
        .filter(|event| event.starts_with("queried"))
        .count()
}
