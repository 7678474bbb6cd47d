//! A test daemon: registers a provider over an in-memory connection and calls it as a daemon does.
//!
//! Multiplexer, HTTP and messages are those of production; only the processes and the socket are missing. To include
//! those, [`TestDaemonBuilder::launch`] starts your executable as a runtime does.
//!
//! ```
//! use keyway_plugin_sdk::testing::{TestDaemon, block_on};
//! use keyway_plugin_sdk::{Envelope, ErrorKind, Pattern, ProviderError, Query, SecretsProvider};
//!
//! struct Greeting;
//!
//! impl SecretsProvider for Greeting {
//!     fn pattern(&self) -> Pattern {
//!         Pattern::everything()
//!     }
//!
//!     async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
//!         let id = "demo/greeting".parse()?;
//!         Ok(if query.matches(&id) { vec![Envelope::new(id, "hello")] } else { vec![] })
//!     }
//! }
//!
//! block_on(async {
//!     let daemon = TestDaemon::start(Greeting).await.unwrap();
//!     assert_eq!(daemon.get("demo/*").await.unwrap()[0].value.expose(), b"hello");
//!     assert_eq!(daemon.get("other").await.unwrap_err().kind(), ErrorKind::NotFound);
//!     daemon.stop().await;
//! });
//! ```

mod builder;
mod call;
mod launch;
mod write;

use std::future::Future;

use keyway_http::Exchange;
use keyway_mux::{Connector, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1::{PluginServiceClient, ShutdownRequest};
use keyway_secrets::{Envelope, Pattern};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

pub use self::builder::TestDaemonBuilder;
pub use self::call::{Call, Found};
pub use self::launch::LaunchError;
use self::launch::Process;
use crate::connection::{Ended, RegisterError};
use crate::{Decision, Description, Listed, ProviderError, Requester, SecretsProvider};

/// Runs the future of a test on its own event loop.
///
/// # Panics
///
/// Panics if the event loop cannot be created.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("an event loop for the test")
        .block_on(future)
}

/// The registration of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// The registered pattern; `None` for an access-control module.
    pub pattern: Option<String>,
    /// The realm: the patterns of the description, or the registered one.
    pub realm: Vec<Pattern>,
    /// The description; `None` for an access-control module and for plugins of other SDKs.
    pub description: Option<Description>,
}

/// A daemon with one plugin.
#[derive(Debug)]
pub struct TestDaemon {
    session: Session,
    registration: Registration,
    /// The reports of changed secrets.
    changes: mpsc::Receiver<Vec<String>>,
    /// The task of the plugin's end; `None` if the plugin is another process.
    plugin: Option<JoinHandle<Result<Ended, RegisterError>>>,
    /// The plugin's process; `None` unless it was launched.
    process: Option<Process>,
    _tasks: JoinSet<()>,
}

impl TestDaemon {
    /// Starts a daemon with `provider`, registered as `test`.
    ///
    /// # Errors
    ///
    /// Returns the [`RegisterError`] of a failed registration.
    pub async fn start(provider: impl SecretsProvider) -> Result<Self, RegisterError> {
        Self::builder().start(provider).await
    }

    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> TestDaemonBuilder {
        TestDaemonBuilder::default()
    }

    /// Returns the registration of the plugin.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Returns the patterns of the next report of changed secrets, which may be several calls of
    /// [`Daemon::changed`](crate::Daemon::changed); none stands for all secrets.
    ///
    /// # Panics
    ///
    /// Panics if the plugin has left.
    pub async fn next_change(&mut self) -> Vec<String> {
        let change = self.changes.recv().await;
        change.expect("the plugin is connected")
    }

    /// Gets the secrets that match; [`call`](Self::call) has more options.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`NotFound`](crate::ErrorKind::NotFound) if no secret matches.
    pub async fn get(&self, pattern: &str) -> Result<Vec<Envelope>, ProviderError> {
        Ok(self.call(pattern).get().await?.found)
    }

    /// Lists the secrets that match; [`call`](Self::call) has more options.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`CannotList`](crate::ErrorKind::CannotList) if it cannot list.
    pub async fn list(&self, pattern: &str) -> Result<Vec<Listed>, ProviderError> {
        Ok(self.call(pattern).list().await?.found)
    }

    /// Returns a call for a pattern, with options such as a deadline, whose response reports whether it is incomplete.
    #[must_use]
    pub fn call(&self, pattern: impl Into<String>) -> Call<'_> {
        Call::new(self, pattern.into())
    }

    /// Calls an access-control module.
    ///
    /// # Errors
    ///
    /// Returns the module's error.
    pub async fn check_access(
        &self,
        pattern: &str,
        requester: &Requester,
    ) -> Result<Decision, ProviderError> {
        let request = access::CheckAccessRequest {
            pattern: Some(pattern.to_owned()),
            requester: Some(requester.to_wire()),
        };
        let client = access::AccessControlServiceClient::new(self.transport());
        let response = client
            .check_access(request)
            .await
            .map_err(|error| call::read_error(&error, pattern))?;
        Ok(match response.into_message().decision() {
            access::Decision::Allow => Decision::Allow,
            access::Decision::Deny => Decision::Deny,
        })
    }

    /// Stops the plugin with `Shutdown`, as a daemon does, and waits for its end.
    ///
    /// # Panics
    ///
    /// Panics if the plugin does not end cleanly: it panicked, the connection broke, or its process failed or did not exit.
    pub async fn stop(self) {
        let client = PluginServiceClient::new(self.transport());
        client
            .shutdown(ShutdownRequest {})
            .await
            .expect("the plugin responds to `Shutdown`");
        if let Some(plugin) = self.plugin {
            let ended = plugin.await.expect("the plugin does not panic");
            assert_eq!(
                ended.expect("the plugin was registered"),
                Ended::ShutdownRequested
            );
        }
        // A plugin closes the connection after `Shutdown`.
        self.session
            .closed()
            .await
            .expect("the connection ends cleanly");
        if let Some(process) = self.process {
            let status = process.wait().await.expect("the plugin exits in time");
            assert!(status.success(), "the plugin ended with {status}");
        }
    }

    fn transport(&self) -> Exchange<Connector> {
        Exchange::new(Connector::new(self.session.clone()))
    }
}
