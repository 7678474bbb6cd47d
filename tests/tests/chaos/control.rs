//! The daemon under test: its home, its management, and waits until plugins are healthy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_local::Address;
use keyway_proto::keyway::v1::{
    ListPluginsRequest, ManagementServiceClient, PluginState, PluginStatus,
};
use keyway_resolver::{DaemonSocket, Resolver};
use keyway_tests::Home;
use keyway_tests::caller::{self, Reply};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::callers::of_result;
use crate::model::{Model, Outcome};
use crate::world::{Plugin, configuration};

/// The bound of a recovery on a busy machine.
const RECOVERY_LIMIT: Duration = Duration::from_secs(180);

/// The bound of one look at the daemon.
const LOOK_LIMIT: Duration = Duration::from_secs(90);

/// The pause between two looks at the daemon.
const PAUSE: Duration = Duration::from_millis(20);

/// Number of right responses in a row that make a plugin healthy: one may precede a fault that is under way.
const N_RIGHT: usize = 2;

/// The daemon under test.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) home: Arc<Home>,
    pub(crate) model: Arc<Model>,
    /// The daemon's process.
    pub(crate) pid: Pid,
}

impl Control {
    pub(crate) fn address(&self) -> Address {
        self.home.socket().into()
    }

    /// A client with connections of its own.
    pub(crate) fn resolver(&self) -> Resolver<DaemonSocket> {
        let socket = DaemonSocket::at(self.address()).connect_timeout(LOOK_LIMIT);
        Resolver::new(socket).with_timeout(LOOK_LIMIT)
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the daemon runs");
    }

    /// Calls a method of [`caller`].
    pub(crate) async fn call(&self, method: &'static str, argument: &str) -> Reply {
        let (address, argument) = (self.address(), argument.to_owned());
        let call = tokio::task::spawn_blocking(move || caller::call(&address, method, &argument));
        call.await.expect("the caller does not panic")
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        let fresh = self.home.write("config.new", text);
        std::fs::rename(fresh, self.home.join("config.toml")).expect("a configuration");
    }

    /// The status of a plugin, if the daemon responds and lists it.
    pub(crate) async fn status(&self, plugin: Plugin) -> Option<PluginStatus> {
        let client = ManagementServiceClient::from(self.resolver().rpc());
        let response = client.list_plugins(ListPluginsRequest {}).await.ok()?;
        let mut plugins = response.into_message().plugins.into_iter();
        plugins.find(|status| status.name() == plugin.name())
    }

    /// Returns `true` if a launched plugin has neither a process nor a start that is under way.
    async fn is_down(&self, plugin: Plugin) -> bool {
        let is_down = |status: PluginStatus| {
            matches!(
                status.state(),
                PluginState::Crashed | PluginState::RetriesExceeded | PluginState::Disabled
            )
        };
        plugin.is_launched() && self.status(plugin).await.is_some_and(is_down)
    }

    /// Sends a signal to the process of a plugin, if it has one, and returns the process.
    pub(crate) async fn signal_plugin(&self, plugin: Plugin, signal: Signal) -> Option<Pid> {
        let pid = self.status(plugin).await?.pid;
        let pid = Pid::from_raw(pid?)?;
        // It may have ended meanwhile.
        kill_process(pid, signal).ok()?;
        Some(pid)
    }

    /// Looks at the daemon until `is_met` holds. `what` names the condition.
    pub(crate) async fn wait_until(&self, what: &str, mut is_met: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !is_met().await {
            if started.elapsed() > RECOVERY_LIMIT {
                self.model
                    .violation(format!("waited {RECOVERY_LIMIT:?} for {what}"));
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until a plugin returns its value again.
    pub(crate) async fn wait_until_healthy(&self, plugin: Plugin, fault: &str) {
        let id = plugin.own_id();
        let id = id.parse().expect("an id");
        let mut n_right = 0;
        let mut last = None;
        let started = Instant::now();
        while n_right < N_RIGHT {
            if started.elapsed() > RECOVERY_LIMIT {
                let status = self.status(plugin).await;
                self.model.violation(format!(
                    "{} is not healthy {RECOVERY_LIMIT:?} after {fault}: {last:?}, {status:?}",
                    plugin.name()
                ));
                return;
            }
            if self.is_down(plugin).await {
                // Earlier failures are forgotten, so the plugin is started now. The probe shows whether that worked.
                self.call("enable", plugin.name()).await;
            }
            let outcome = of_result(self.resolver().get_one(&id).await);
            let is_right =
                matches!(&outcome, Outcome::Value(value) if plugin.is_value(id.as_str(), value));
            n_right = if is_right { n_right + 1 } else { 0 };
            last = Some(outcome);
            sleep(PAUSE).await;
        }
    }

    /// Waits until all plugins without a fault return their values.
    pub(crate) async fn wait_until_all_healthy(&self, fault: &str) {
        for plugin in Plugin::ALL {
            if !self.model.is_faulty(plugin) {
                self.wait_until_healthy(plugin, fault).await;
            }
        }
    }

    /// Writes the configuration and waits until the daemon uses it.
    pub(crate) async fn set_priorities(&self, is_swapped: bool, reload: Reload) {
        self.configure(&configuration(self.home.path(), is_swapped));
        let expected = Plugin::Top.priority(is_swapped);
        self.wait_until("a reload", async || {
            reload.request(self).await;
            let status = self.status(Plugin::Top).await;
            status.is_some_and(|status| status.priority() == expected)
        })
        .await;
    }
}

/// The way in which a reload is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    Call,
    Signal,
}

impl Reload {
    pub(crate) async fn request(self, control: &Control) {
        match self {
            // Its effects show whether it worked.
            Self::Call => drop(control.call("reload", "").await),
            Self::Signal => control.signal(Signal::HUP),
        }
    }
}
