//! A daemon inside the test, with plugins that are real processes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::Address;
use keyway_proto::plugins::v1::{
    DisablePluginRequest, EnablePluginRequest, ListPluginsRequest, Plugin,
    PluginManagementServiceClient, RunStatus,
};
use keyway_resolver::{DaemonSocket, ProviderFailure, ResolveError, Resolver, Secrets};
use keyway_runtime::{Config, Daemon, ManagerHandle, PluginConfig, RestartPolicy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::behaviour::{Behaviour, VARIABLE};

/// How long a test waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A temporary home for a daemon: a plugin directory, a socket, state.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    /// The executable that every plugin is.
    executable: std::path::PathBuf,
}

impl Home {
    /// A home whose plugins are all links to `executable`, which is usually the misbehaving plugin.
    pub fn new(executable: impl AsRef<Path>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("plugins")).expect("a plugin directory");
        Self {
            directory,
            executable: executable.as_ref().into(),
        }
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a plugin of that name into the plugin directory.
    pub fn add(&self, name: &str) {
        std::os::unix::fs::symlink(&self.executable, self.path().join("plugins").join(name))
            .expect("a link");
    }

    /// Takes it out again.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join("plugins").join(name)).expect("the plugin was there");
    }

    /// The configuration for a daemon in this home. Plugins that fail are tried again soon.
    pub fn config(&self) -> Config {
        let address: Address = self.path().join("daemon.sock").into();
        let mut config = Config::new(address, self.path().join("state"));
        config.plugin_dirs = vec![self.path().join("plugins")];
        config.restart = RestartPolicy::default();
        config.restart.initial = Duration::from_millis(20);
        config.restart.maximum = Duration::from_millis(20);
        config.restart.max_failures = 3;
        config.removal_grace = Duration::from_millis(100);
        config
    }
}

/// Makes `name` behave so.
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
/// If the error names none or several.
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

/// A running daemon. Dropped without [`stop`](Self::stop), its plugins are killed.
#[derive(Debug)]
pub struct TestDaemon {
    /// Its home.
    pub home: Arc<Home>,
    /// Asks it.
    pub resolver: Resolver<DaemonSocket>,
    /// Makes it reload.
    pub handle: ManagerHandle,
    address: Address,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestDaemon {
    /// A daemon with the plugins in `behaviours`, each named and behaving so. `executable` is the misbehaving plugin.
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
        let daemon = Daemon::bind(config).expect("the daemon listens");
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
            address,
            stop: Some(stop),
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for secrets.
    ///
    /// # Errors
    ///
    /// What the daemon answered.
    pub async fn get(&self, pattern: &str) -> Result<Secrets, ResolveError> {
        self.resolver
            .get(&pattern.parse().expect("a pattern"))
            .await
    }

    /// What the daemon answers to a JSON request of a client that knows nothing but HTTP.
    pub async fn post(&self, path: &str, json: &str) -> String {
        let address = self.address.as_path().expect("tests listen at paths");
        let mut socket = UnixStream::connect(address).await.expect("a connection");
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{json}",
            json.len()
        );
        socket.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        answer
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

    /// One plugin, when it is listed.
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
    /// When that does not happen.
    pub async fn wait_for(&self, name: &str, status: RunStatus) -> Plugin {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let plugin = self.plugin(name).await;
            match plugin {
                Some(plugin) if plugin.run_status() == status => return plugin,
                seen => assert!(
                    tokio::time::Instant::now() < deadline,
                    "{name} never was {status:?}, but {seen:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Enables or disables a plugin.
    ///
    /// # Errors
    ///
    /// What the daemon answered.
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

    /// Stops it and waits until everything has ended; returns how long that took.
    ///
    /// # Panics
    ///
    /// When it failed.
    pub async fn stop(mut self) -> Duration {
        let begin = std::time::Instant::now();
        drop(self.stop.take());
        self.task.await.expect("the daemon did not panic");
        begin.elapsed()
    }
}
