//! A daemon for tests: registers a provider over an in-memory connection, and asks it as a daemon would.
//!
//! The whole way is real (multiplexer, HTTP, messages); only the processes and the socket are missing. For those there is
//! [`TestDaemonBuilder::launch`], which starts your executable as a runtime does.
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

use std::future::Future;

use keyway_mux::{Connector, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1::{PluginServiceClient, ShutdownRequest};
use keyway_rpc::http1::Exchange;
use keyway_secrets::{Envelope, Pattern};
use tokio::task::{JoinHandle, JoinSet};

pub use self::builder::TestDaemonBuilder;
pub use self::call::{Call, Found};
pub use self::launch::LaunchError;
use self::launch::Process;
use crate::connection::{Ended, RegisterError};
use crate::{Decision, Description, Listed, ProviderError, Requester, SecretsProvider};

/// Runs a test's future on an event loop of its own.
///
/// # Panics
///
/// When the system gives no event loop.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("an event loop for the test")
        .block_on(future)
}

/// What a plugin said of itself when it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The pattern that it registered, if it is a provider; an access-control module has none.
    pub pattern: Option<String>,
    /// Its realm: the patterns that it described, or the registered one.
    pub realm: Vec<Pattern>,
    /// What else it described; `None` for an access-control module and for plugins of other SDKs.
    pub description: Option<Description>,
}

/// A daemon with one plugin.
#[derive(Debug)]
pub struct TestDaemon {
    session: Session,
    registration: Registration,
    /// The plugin's end; none when it is somewhere else.
    plugin: Option<JoinHandle<Result<Ended, RegisterError>>>,
    /// The plugin's process, if it was launched.
    process: Option<Process>,
    _tasks: JoinSet<()>,
}

impl TestDaemon {
    /// A daemon with this provider, registered as `test`.
    ///
    /// # Errors
    ///
    /// The registration's.
    pub async fn start(provider: impl SecretsProvider) -> Result<Self, RegisterError> {
        Self::builder().start(provider).await
    }

    /// Settings for a daemon.
    #[must_use]
    pub fn builder() -> TestDaemonBuilder {
        TestDaemonBuilder::default()
    }

    /// What the plugin said of itself.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Asks for the secrets that match; see [`call`](Self::call) for more than that.
    ///
    /// # Errors
    ///
    /// Returns what the plugin answered, of kind [`NotFound`](crate::ErrorKind::NotFound) if nothing matches.
    pub async fn get(&self, pattern: &str) -> Result<Vec<Envelope>, ProviderError> {
        Ok(self.call(pattern).get().await?.found)
    }

    /// Asks for a listing; see [`call`](Self::call) for more than that.
    ///
    /// # Errors
    ///
    /// Returns what the plugin answered, of kind [`CannotList`](crate::ErrorKind::CannotList) if it cannot list.
    pub async fn list(&self, pattern: &str) -> Result<Vec<Listed>, ProviderError> {
        Ok(self.call(pattern).list().await?.found)
    }

    /// A call about a pattern, with a deadline or without prompts, whose response tells if it is incomplete.
    #[must_use]
    pub fn call(&self, pattern: impl Into<String>) -> Call<'_> {
        Call::new(self, pattern.into())
    }

    /// Asks an access-control module.
    ///
    /// # Errors
    ///
    /// What the module answered.
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

    /// Asks the plugin to end, as a daemon does that stops it.
    ///
    /// # Panics
    ///
    /// When the plugin does not end cleanly: its panic, a connection that broke, a process that fails or does not end.
    pub async fn stop(self) {
        let client = PluginServiceClient::new(self.transport());
        client
            .shutdown(ShutdownRequest {})
            .await
            .expect("the plugin answers the call to shut down");
        if let Some(plugin) = self.plugin {
            let ended = plugin.await.expect("the plugin does not panic");
            assert_eq!(ended.expect("the plugin was registered"), Ended::Asked);
        }
        // A plugin closes the connection when it was asked to end.
        self.session
            .closed()
            .await
            .expect("the connection ends cleanly");
        if let Some(process) = self.process {
            let status = process.ended().await.expect("the plugin ends in time");
            assert!(status.success(), "the plugin ended with {status}");
        }
    }

    fn transport(&self) -> Exchange<Connector> {
        Exchange::new(Connector::new(self.session.clone()))
    }
}
