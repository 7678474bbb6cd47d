//! What a plugin serves on its connection.

mod access;
mod health;
mod provider;
mod shutdown;

use std::sync::Arc;

use keyway_proto::keyway::v1::PluginDescription;
use keyway_proto::plugins::v1::PluginServiceServer;
use keyway_proto::plugins::v1::register_plugin_request::Metadata;
use keyway_proto::registration::common_pattern;
use keyway_rpc::{Budget, Router};
use keyway_secrets::Pattern;

pub(crate) use self::health::Health;
pub(crate) use self::shutdown::{ShutdownRequested, shutdown_switch};
use crate::gate::Gate;
use crate::{AccessControl, Description, SecretsProvider};

/// The service of a plugin's connection.
pub(crate) type PluginRouter = Router<Health>;

/// What an author implemented, without its type: what it registers as, and the routes that it serves.
pub(crate) trait Role: Send + Sync + 'static {
    /// The plugin's version.
    fn version(&self) -> String;

    /// The pattern that it registers; an access-control module has none.
    fn pattern(&self) -> Option<Pattern>;

    /// How it describes itself; an access-control module does not.
    fn description(&self) -> Option<PluginDescription>;

    /// What it registers as.
    fn metadata(&self) -> Metadata;

    /// A router with its services, behind the gate.
    fn routes(&self, gate: Gate) -> Router;
}

/// A provider of secrets, as a role.
pub(crate) struct Provider<P> {
    provider: Arc<P>,
    answers: Budget,
    /// As registered: asking the provider again could give other patterns.
    realm: Arc<[Pattern]>,
    description: Description,
}

impl<P: SecretsProvider> Provider<P> {
    /// `answer_memory`: how many bytes its large answers may have together.
    pub(crate) fn new(provider: P, answer_memory: u64) -> Self {
        let mut realm = provider.patterns();
        if realm.is_empty() {
            realm.push(provider.pattern());
        }
        Self {
            realm: realm.into(),
            description: provider.describe(),
            provider: Arc::new(provider),
            answers: Budget::new(answer_memory),
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

    fn routes(&self, gate: Gate) -> Router {
        let (provider, realm) = (Arc::clone(&self.provider), Arc::clone(&self.realm));
        provider::routes(provider, realm, self.answers.clone(), gate)
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

    fn routes(&self, gate: Gate) -> Router {
        access::routes(Arc::clone(&self.0), gate)
    }
}

/// Everything that a plugin serves: its role, `Shutdown` and `/health`. The latter two do not wait at the gate.
pub(crate) fn router(role: &dyn Role, gate: Gate) -> (PluginRouter, ShutdownRequested) {
    let (shutdown, requested) = shutdown_switch();
    let router = role
        .routes(gate)
        .add_service(PluginServiceServer::new(shutdown));
    (router.with_fallback(Health), requested)
}
