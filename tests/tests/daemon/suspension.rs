//! A plugin and the daemon that SIGSTOP stops for longer than any of their timeouts. That is a failure of neither.
//!
//! The timeouts are short, unless `KEYWAY_SUSPENSION_SECONDS` says for how many seconds they are stopped: then the timeouts are those of
//! a daemon without configuration.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::{
    ListPluginsRequest, ManagementServiceClient, PluginState, PluginStatus,
};
use keyway_resolver::DaemonSocket;
use keyway_rpc::client::Client;
use keyway_tests::DaemonProcess;
use keyway_tests::daemon::Home;
use keyway_tests::daemon_process::KEEP_ALIVE_VARIABLE;
use keyway_tests::script::QueryResponse;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::common::{DAEMON, ID, PLUGIN, provider, responding};

/// The process that is stopped. Several are continued in the same order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stopped {
    Plugin,
    Daemon,
}

/// Returns the time for which they are stopped, and the keep-alive of the daemon in milliseconds.
fn times() -> (Duration, &'static str) {
    match std::env::var("KEYWAY_SUSPENSION_SECONDS") {
        Ok(seconds) => {
            let seconds = seconds.parse().expect("a number of seconds");
            (Duration::from_secs(seconds), "30000")
        }
        Err(_) => (Duration::from_secs(2), "300"),
    }
}

struct Pair {
    home: Arc<Home>,
    daemon: DaemonProcess,
    plugin: Pid,
}

impl Pair {
    async fn start(keep_alive: &str) -> Self {
        let home = Arc::new(Home::new(PLUGIN));
        home.play("db", &provider("value"));
        let variable = format!("{KEEP_ALIVE_VARIABLE}={keep_alive}");
        let uid = rustix::process::geteuid().as_raw();
        let daemon = DaemonProcess::start(DAEMON, Arc::clone(&home), &["env", &variable], uid);
        daemon.wait_for("ok", "get", ID).await;
        let status = status(&daemon).await;
        let plugin = Pid::from_raw(status.pid()).expect("a process");
        Self {
            home,
            daemon,
            plugin,
        }
    }

    fn signal(&self, who: Stopped, signal: Signal) {
        match who {
            Stopped::Plugin => kill_process(self.plugin, signal).expect("the plugin runs"),
            Stopped::Daemon => self.daemon.signal(signal),
        }
    }

    /// The process of the plugin, how often it was restarted, and its state.
    async fn plugin_now(&self) -> (i32, u64, PluginState) {
        let status = status(&self.daemon).await;
        (status.pid(), status.restarts(), status.state())
    }
}

async fn status(daemon: &DaemonProcess) -> PluginStatus {
    let client = Client::new(DaemonSocket::at(daemon.address()));
    let plugins = ManagementServiceClient::from(client).list_plugins(ListPluginsRequest {});
    let mut plugins = plugins.await.expect("a list").into_message().plugins;
    plugins.pop().expect("one plugin")
}

/// Stops these while a call is in flight, which gets the value or an error that names the slow part. The plugin continues.
async fn play(stopped: &[Stopped]) {
    let (time, keep_alive) = times();
    let pair = Pair::start(keep_alive).await;
    let plugin = pair.plugin.as_raw_nonzero().get();
    pair.home.change("db", &responding(QueryResponse::Hold));
    pair.home.clear_events("db");
    let in_flight = pair.daemon.call("get", ID);
    let faults = async {
        pair.home.wait_for_events("db", "queried", 1).await;
        stopped
            .iter()
            .for_each(|who| pair.signal(*who, Signal::STOP));
        sleep(time).await;
        pair.home.change("db", &provider("value"));
        stopped
            .iter()
            .for_each(|who| pair.signal(*who, Signal::CONT));
    };
    let (reply, ()) = tokio::join!(in_flight, faults);
    let is_clear = reply.is_ok() || reply.body.contains("db took too long");
    assert!(is_clear, "{stopped:?}: {reply:?}");
    pair.daemon.wait_for("ok", "get", ID).await;
    // Longer than every timeout that could still end the connection.
    sleep(Duration::from_secs(1)).await;
    let now = pair.plugin_now().await;
    assert_eq!(
        now,
        (plugin, 0, PluginState::Running),
        "{stopped:?}: {}",
        pair.daemon.log()
    );
    assert!(
        !pair.daemon.log().contains("plugin failed"),
        "{}",
        pair.daemon.log()
    );
}

#[tokio::test]
async fn a_stopped_plugin_is_neither_replaced_nor_failed() {
    play(&[Stopped::Plugin]).await;
}

#[tokio::test]
async fn the_plugin_of_a_stopped_daemon_is_neither_replaced_nor_failed() {
    play(&[Stopped::Daemon]).await;
}

#[tokio::test]
async fn a_plugin_and_a_daemon_that_are_stopped_in_this_order_continue() {
    play(&[Stopped::Plugin, Stopped::Daemon]).await;
}

#[tokio::test]
async fn a_daemon_and_a_plugin_that_are_stopped_in_this_order_continue() {
    play(&[Stopped::Daemon, Stopped::Plugin]).await;
}
