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
mod launch;

use std::future::Future;

use keyway_mux::{Connector, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::v1::{CatalogServiceClient, ListSecretsRequest};
use keyway_proto::plugins::v1::{PluginServiceClient, ShutdownRequest};
use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_proto::timestamp;
use keyway_rpc::http1::Exchange;
use keyway_secrets::{Envelope, Pattern};
use tokio::task::{JoinHandle, JoinSet};

pub use self::builder::TestDaemonBuilder;
pub use self::launch::LaunchError;
use self::launch::Process;
use crate::connection::{Ended, RegisterError};
use crate::{Decision, Listed, ProviderError, Requester, ResultExt, SecretsProvider};

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
    /// Its realm, if it is a provider; an access-control module has none.
    pub pattern: Option<String>,
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

    /// Asks for the secrets that match.
    ///
    /// # Errors
    ///
    /// What the plugin answered; [`NotFound`](crate::ErrorKind::NotFound) when there are none.
    pub async fn get(&self, pattern: &str) -> Result<Vec<Envelope>, ProviderError> {
        let request = GetSecretsRequest {
            pattern: Some(pattern.to_owned()),
        };
        let client = ResolverServiceClient::new(self.transport());
        let response = client
            .get_secrets(request)
            .await
            .map_err(|error| from_rpc(&error, pattern))?;
        let envelopes = response.into_message().envelopes.into_iter();
        envelopes
            .map(|envelope| Envelope::try_from(envelope).or_internal("an envelope is invalid"))
            .collect()
    }

    /// Asks for a listing.
    ///
    /// # Errors
    ///
    /// What the plugin answered; [`CannotList`](crate::ErrorKind::CannotList) when it cannot list.
    pub async fn list(&self, pattern: &str) -> Result<Vec<Listed>, ProviderError> {
        let request = ListSecretsRequest {
            pattern: Some(pattern.to_owned()),
        };
        let client = CatalogServiceClient::new(self.transport());
        let response = client
            .list_secrets(request)
            .await
            .map_err(|error| from_rpc(&error, pattern))?;
        response
            .into_message()
            .secrets
            .into_iter()
            .map(to_listed)
            .collect()
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
            .map_err(|error| from_rpc(&error, pattern))?;
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

/// Reads an error as a daemon does. A text that is not a pattern is not a single id either.
fn from_rpc(error: &keyway_rpc::Error, query: &str) -> ProviderError {
    let is_single = query
        .parse::<Pattern>()
        .is_ok_and(|pattern| pattern.as_id().is_some());
    ProviderError::from_rpc(error, is_single)
}

fn to_listed(secret: keyway_proto::keyway::v1::Secret) -> Result<Listed, ProviderError> {
    let mut listed = Listed::new(secret.id.unwrap_or_default().parse()?);
    listed.version = secret.version.unwrap_or_default();
    let time = |wire| timestamp::from_wire(wire).or_internal("a time is invalid");
    listed.created_at = time(secret.created_at)?;
    listed.expires_at = time(secret.expires_at)?;
    listed.metadata = secret.metadata;
    Ok(listed)
}
