//! The RPC services of the daemon's socket: decode, permit, call, record, encode. They hold no rule of their own.

mod catalog;
mod docker;
mod management;
mod plugins;
mod request_memory;
mod resolver;
mod store;

use std::sync::Arc;
use std::time::SystemTime;

use keyway_local::MemoryBudget;
use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::keyway::store::v1 as store_v1;
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins_v1;
use keyway_proto::resolver::v1 as resolver_v1;
use keyway_rpc::{Error, Router};

use self::request_memory::RequestMemory;
use crate::authority::{Action, Authorizer, Permitted};
use crate::caller::Caller;
use crate::config::{Current, Settings};
use crate::manager::ManagerHandle;
use crate::record::{Audit, Outcome};
use crate::registry::Registry;
use crate::version::Version;

/// The parts of the daemon that the services use.
pub(crate) struct Services {
    pub(crate) registry: Arc<Registry>,
    pub(crate) settings: Arc<Current>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) manager: ManagerHandle,
    /// The memory that large responses share, with the size that it was made for.
    pub(crate) budget: Budgets,
    pub(crate) started_at: SystemTime,
    pub(crate) addresses: Vec<String>,
    /// Stops the daemon.
    pub(crate) stop: tokio::sync::mpsc::Sender<()>,
}

/// Number of copies of a response in memory: decoded, and as it travels.
const RESPONSE_COPIES: u64 = 2;

/// The memory for large responses; it follows the settings.
#[derive(Default)]
pub(crate) struct Budgets(std::sync::Mutex<Option<(u64, Arc<MemoryBudget>)>>);

impl Budgets {
    /// Returns the memory of the size that the settings name. Responses in transit when the size changes stay counted in the former
    /// one.
    fn of(&self, settings: &Settings) -> Arc<MemoryBudget> {
        let bytes = settings.config.answer_memory;
        let mut current = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*current {
            Some((size, budget)) if *size == bytes => Arc::clone(budget),
            _ => {
                let budget = Arc::new(MemoryBudget::with_copies(bytes, RESPONSE_COPIES));
                *current = Some((bytes, Arc::clone(&budget)));
                budget
            }
        }
    }
}

impl Services {
    /// Returns the services under their paths.
    pub(crate) fn into_router(self) -> Router {
        let version = Arc::new(Version(self.settings.load().config.version.clone()));
        let services = Arc::new(self);
        Router::new()
            .request_memory(RequestMemory::new())
            .add_service(resolver_v1::ResolverServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(resolver_v1::AuthorizerServiceServer::<Self>::new(
                Arc::clone(&services),
            ))
            .add_service(resolver_v1::ListServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(plugins_v1::PluginManagementServiceServer::<Self>::new(
                Arc::clone(&services),
            ))
            .add_service(keyway::CatalogServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(keyway::ManagementServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(store_v1::StoreServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(store_v1::DockerServiceServer::<Self>::new(Arc::clone(
                &services,
            )))
            .add_service(VersionServiceServer::<Version>::new(version))
    }

    /// Permits an action. A refusal is recorded and carries the id of the request.
    async fn permit(
        &self,
        caller: &Caller,
        action: &Action<'_>,
        (name, objects): (&'static str, &[&str]),
    ) -> Result<Permitted, Error> {
        let mut permitted = self.authorizer.permit(caller, action).await;
        if permitted.is_err() {
            self.record(caller, name, objects, || Outcome::of(&permitted))
                .await?;
        }
        if let Err(error) = &mut permitted {
            caller.add_id(error.own_metadata_mut());
        }
        permitted
    }

    async fn record(
        &self,
        caller: &Caller,
        action: &'static str,
        objects: &[&str],
        outcome: impl FnOnce() -> Outcome,
    ) -> Result<(), Error> {
        let outcome = || outcome().about(objects.iter().map(|object| (*object).to_owned()));
        self.audit.record(action, caller, outcome).await
    }
}
