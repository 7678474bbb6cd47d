//! A daemon inside the test, with plugins that are real processes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_local::Address;
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1::{
    DisablePluginRequest, EnablePluginRequest, ListPluginsRequest, Plugin,
    PluginManagementServiceClient, RunStatus,
};
use keyway_resolver::{DaemonSocket, ProviderFailure, ResolveError, Resolver, Secrets};
use keyway_runtime::{Config, Daemon, ManagerHandle, PluginConfig, ReloadReport};
use keyway_test_support::http;
use keyway_test_support::wait::asynchronous::eventually;
use rustix::process::Pid;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::behaviour::{Behaviour, VARIABLE};
use crate::caller::{self, Reply};
pub use crate::home::Home;

/// Sets the behaviour of the plugin `name`.
pub fn behave(config: &mut Config, name: &str, behaviour: Behaviour) {
    plugin(config, name)
        .env
        .insert(VARIABLE.into(), behaviour.as_str().into());
}

/// The settings of one plugin.
pub fn plugin<'a>(config: &'a mut Config, name: &str) -> &'a mut PluginConfig {
    config
        .plugins
        .entry(name.parse().expect("a plugin name"))
        .or_default()
}

/// The one failure that an error names.
///
/// # Panics
///
/// Panics if the error names none or several.
pub fn the_failure(error: &ResolveError) -> &ProviderFailure {
    let (ResolveError::Uncertain { failures, .. } | ResolveError::Conflict { failures, .. }) =
        error
    else {
        panic!("{error:?} names no provider");
    };
    let [failure] = failures.as_slice() else {
        panic!("several failures: {failures:?}");
    };
    failure
}

fn lock(config: &Mutex<Config>) -> std::sync::MutexGuard<'_, Config> {
    config.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running daemon. Dropped without [`stop`](Self::stop), its plugins are killed.
#[derive(Debug)]
pub struct TestDaemon {
    /// Its home.
    pub home: Arc<Home>,
    /// A client of it.
    pub resolver: Resolver<DaemonSocket>,
    /// Its handle.
    pub handle: ManagerHandle,
    config: Arc<Mutex<Config>>,
    address: Address,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestDaemon {
    /// A daemon with the plugins in `behaviours`, each with its name. `executable` is the misbehaving plugin.
    pub fn start(executable: &str, behaviours: &[(&str, Behaviour)]) -> Self {
        let home = Home::new(executable);
        let mut config = home.config();
        for (name, behaviour) in behaviours {
            home.add(name);
            behave(&mut config, name, *behaviour);
        }
        Self::with_config(home.into(), config)
    }

    /// A daemon with this configuration.
    pub fn with_config(home: Arc<Home>, config: Config) -> Self {
        let address = config.listen[0].clone();
        let current = Arc::new(Mutex::new(config.clone()));
        let read = Arc::clone(&current);
        let daemon = Daemon::bind(config)
            .expect("the daemon listens")
            .on_reload(move || Ok(lock(&read).clone()));
        let handle = daemon.handle();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.run(async {
            // A dropped sender is a stop as well.
            let _ = stopped.await;
        }));
        let resolver = Resolver::new(DaemonSocket::at(address.clone()));
        Self {
            home,
            resolver,
            handle,
            config: current,
            address,
            stop: Some(stop),
            task,
        }
    }

    /// Reloads with a changed configuration.
    ///
    /// # Panics
    ///
    /// Panics if the reload fails.
    pub async fn reload_with(&self, change: impl FnOnce(&mut Config)) -> ReloadReport {
        change(&mut lock(&self.config));
        self.reload().await
    }

    /// Reloads.
    ///
    /// # Panics
    ///
    /// Panics if the reload fails.
    pub async fn reload(&self) -> ReloadReport {
        let report = self.handle.reload().await;
        report.expect("running").expect("reloaded")
    }

    /// The address at which it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Queries secrets.
    ///
    /// # Errors
    ///
    /// The error of the query.
    pub async fn get(&self, pattern: &str) -> Result<Secrets, ResolveError> {
        self.resolver
            .get(&pattern.parse().expect("a pattern"))
            .await
    }

    /// The one value of an id, as text.
    ///
    /// # Errors
    ///
    /// The error of the call.
    pub async fn value(&self, id: &str) -> Result<String, ResolveError> {
        let secrets = self.get(id).await?;
        let [envelope] = secrets.envelopes.as_slice() else {
            panic!("{id} has {} envelopes", secrets.envelopes.len());
        };
        Ok(String::from_utf8_lossy(envelope.value.expose()).into_owned())
    }

    /// A call of a method of [`crate::caller`].
    pub async fn call(&self, method: &str, argument: &str) -> Reply {
        let (address, method, argument) =
            (self.address.clone(), method.to_owned(), argument.to_owned());
        let call = tokio::task::spawn_blocking(move || caller::call(&address, &method, &argument));
        call.await.expect("the caller does not panic")
    }

    /// The plugins as `keyway.v1.ManagementService` lists them, in rank order.
    pub async fn statuses(&self) -> Vec<keyway::PluginStatus> {
        let client = keyway::ManagementServiceClient::from(self.resolver.rpc());
        let response = client.list_plugins(keyway::ListPluginsRequest {}).await;
        response.expect("a list").into_message().plugins
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// Panics if it is not listed.
    pub async fn status(&self, name: &str) -> keyway::PluginStatus {
        let statuses = self.statuses().await;
        let found = statuses.into_iter().find(|status| status.name() == name);
        found.unwrap_or_else(|| panic!("{name} is not listed"))
    }

    /// The process of a plugin.
    ///
    /// # Panics
    ///
    /// Panics if it has none.
    pub async fn pid(&self, name: &str) -> Pid {
        let status = self.status(name).await;
        Pid::from_raw(status.pid()).expect("a process")
    }

    /// Waits until a plugin is in this state, and returns it then.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for_state(
        &self,
        name: &str,
        state: keyway::PluginState,
    ) -> keyway::PluginStatus {
        self.wait_for_status(name, |status| status.state() == state)
            .await
    }

    /// Waits until `is_met` holds for a plugin, and returns it then.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for_status(
        &self,
        name: &str,
        is_met: impl Fn(&keyway::PluginStatus) -> bool,
    ) -> keyway::PluginStatus {
        eventually(&format!("the status of {name}"), async || {
            let status = self.status(name).await;
            if is_met(&status) {
                Ok(status)
            } else {
                Err(status)
            }
        })
        .await
    }

    /// Returns the response to a JSON request, as it is on the wire.
    pub async fn post(&self, path: &str, json: &str) -> String {
        let address = self.address.as_path().expect("tests listen at paths");
        let (address, path, json) = (address.to_owned(), path.to_owned(), json.to_owned());
        let post = tokio::task::spawn_blocking(move || http::post(&address, &path, &json));
        post.await.expect("a response")
    }

    /// The ids that a query finds, with their providers.
    pub async fn ids(&self, pattern: &str) -> Vec<(String, String)> {
        let secrets = self.get(pattern).await.expect("secrets");
        secrets
            .envelopes
            .iter()
            .map(|envelope| (envelope.id.to_string(), envelope.provider.clone()))
            .collect()
    }

    /// All plugins as the daemon lists them.
    pub async fn plugins(&self) -> Vec<Plugin> {
        let client = PluginManagementServiceClient::from(self.resolver.rpc());
        client
            .list_plugins(ListPluginsRequest {})
            .await
            .expect("a list")
            .into_message()
            .plugins
    }

    /// One plugin, if it is listed.
    pub async fn plugin(&self, name: &str) -> Option<Plugin> {
        self.plugins()
            .await
            .into_iter()
            .find(|plugin| plugin.name() == name)
    }

    /// Waits until a plugin has this status, and returns it then.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for(&self, name: &str, status: RunStatus) -> Plugin {
        eventually(&format!("{name} to be {status:?}"), async || {
            match self.plugin(name).await {
                Some(plugin) if plugin.run_status() == status => Ok(plugin),
                other => Err(other),
            }
        })
        .await
    }

    /// Waits until each of these plugins runs.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for_running(&self, names: &[&str]) {
        for name in names {
            self.wait_for(name, RunStatus::Running).await;
        }
    }

    /// Waits until a plugin is not listed.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_until_forgotten(&self, name: &str) {
        eventually(&format!("{name} to be forgotten"), async || {
            self.plugin(name).await.map_or(Ok(()), Err)
        })
        .await;
    }

    /// Enables or disables a plugin.
    ///
    /// # Errors
    ///
    /// The error of the call.
    pub async fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), keyway_rpc::Error> {
        let client = PluginManagementServiceClient::from(self.resolver.rpc());
        let name = Some(name.to_owned());
        if enabled {
            client
                .enable_plugin(EnablePluginRequest { name })
                .await
                .map(drop)
        } else {
            client
                .disable_plugin(DisablePluginRequest { name })
                .await
                .map(drop)
        }
    }

    /// Stops the daemon, waits until everything has ended, and returns how long that took.
    ///
    /// # Panics
    ///
    /// Panics if the daemon panicked.
    pub async fn stop(mut self) -> Duration {
        let begin = std::time::Instant::now();
        drop(self.stop.take());
        self.task.await.expect("the daemon did not panic");
        begin.elapsed()
    }
}
