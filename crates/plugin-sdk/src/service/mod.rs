//! The services of a plugin's connection.

mod access;
mod provider;
mod shutdown;
mod store;

use std::sync::Arc;

use keyway_http::Health;
use keyway_local::MemoryBudget;
use keyway_proto::keyway::v1::PluginDescription;
use keyway_proto::plugins::v1::PluginServiceServer;
use keyway_proto::plugins::v1::register_plugin_request::Metadata;
use keyway_proto::registration::common_pattern;
use keyway_rpc::Router;
use keyway_secrets::Pattern;

pub(crate) use self::shutdown::{ShutdownRequested, shutdown_channel};
use crate::admission::Admission;
use crate::{AccessControl, Description, SecretsProvider};

/// The service of a plugin's connection.
pub(crate) type PluginRouter = Router<Health>;

/// A provider or an access-control module with its type erased: its registration and its routes.
pub(crate) trait Role: Send + Sync + 'static {
    /// Returns the plugin's version.
    fn version(&self) -> String;

    /// Returns the registered pattern; `None` for an access-control module.
    fn pattern(&self) -> Option<Pattern>;

    /// Returns the description; `None` for an access-control module.
    fn description(&self) -> Option<PluginDescription>;

    /// Returns the metadata of the registration.
    fn metadata(&self) -> Metadata;

    /// Returns a router with its services. Their calls wait for `admission`.
    fn routes(&self, admission: Admission) -> Router;
}

/// A provider of secrets, as a role.
pub(crate) struct Provider<P> {
    provider: Arc<P>,
    response_memory: MemoryBudget,
    /// The registered patterns. Calling the provider again could return others.
    realm: Arc<[Pattern]>,
    description: Description,
}

impl<P: SecretsProvider> Provider<P> {
    /// Creates the role. `answer_memory` is the memory budget of large responses in bytes.
    pub(crate) fn new(provider: P, answer_memory: u64) -> Self {
        let mut realm = provider.patterns();
        if realm.is_empty() {
            realm.push(provider.pattern());
        }
        Self {
            realm: realm.into(),
            description: provider.describe(),
            provider: Arc::new(provider),
            response_memory: MemoryBudget::new(answer_memory),
        }
    }
}

/// An access-control module, as a role.
pub(crate) struct Access<A>(pub(crate) Arc<A>);

impl<P: SecretsProvider> Role for Provider<P> {
    fn version(&self) -> String {
        self.provider.version().to_owned()
    }

    fn pattern(&self) -> Option<Pattern> {
        common_pattern(&self.realm)
    }

    fn description(&self) -> Option<PluginDescription> {
        Some(self.description.to_wire(&self.realm))
    }

    fn metadata(&self) -> Metadata {
        let pattern = self.pattern().map(|pattern| pattern.to_string());
        Metadata::SecretsProvider(keyway_proto::plugins::v1::SecretsProvider { pattern })
    }

    fn routes(&self, admission: Admission) -> Router {
        let (provider, realm) = (Arc::clone(&self.provider), Arc::clone(&self.realm));
        let memory = self.response_memory.clone();
        let reading = provider::routes(provider, realm, memory, admission.clone());
        if !self.description.stores {
            return reading;
        }
        let (provider, realm) = (Arc::clone(&self.provider), Arc::clone(&self.realm));
        store::routes(reading, provider, realm, admission)
    }
}

impl<A: AccessControl> Role for Access<A> {
    fn version(&self) -> String {
        self.0.version().to_owned()
    }

    fn pattern(&self) -> Option<Pattern> {
        None
    }

    fn description(&self) -> Option<PluginDescription> {
        None
    }

    fn metadata(&self) -> Metadata {
        Metadata::AccessControlModule(keyway_proto::plugins::v1::AccessControlModule {})
    }

    fn routes(&self, admission: Admission) -> Router {
        access::routes(Arc::clone(&self.0), admission)
    }
}

/// Returns a router with the services of `role`, `Shutdown` and `/health`. The latter two do not wait for admission.
pub(crate) fn router(role: &dyn Role, admission: Admission) -> (PluginRouter, ShutdownRequested) {
    let (shutdown, requested) = shutdown_channel();
    let router = role
        .routes(admission)
        .add_service(PluginServiceServer::new(shutdown));
    (router.with_fallback(Health), requested)
}
