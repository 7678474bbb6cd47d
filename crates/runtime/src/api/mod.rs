//! The RPC services of the daemon's socket: decode, permit, call, record, encode. They hold no rule of their own.

mod catalog;
mod management;
mod plugins;
mod resolver;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_local::MemoryBudget;
use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins_v1;
use keyway_proto::resolver::v1 as resolver_v1;
use keyway_proto::{MAY_ASK_USER_HEADER, REQUEST_ID_HEADER};
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::Pattern;

use crate::authority::{Action, Gate, Permitted};
use crate::caller::{Caller, Peer};
use crate::config::{Current, Settings};
use crate::manager::ManagerHandle;
use crate::record::{Audit, Outcome};
use crate::registry::Registry;
use crate::resolve::Query;
use crate::version::Version;

/// The longest pattern in bytes.
const MAX_PATTERN_LEN: usize = 4 * 1024;

/// The most components of a pattern.
const MAX_COMPONENTS: usize = 128;

/// How long before a caller stops waiting its response is due at the latest.
const MAX_LEAD: Duration = Duration::from_millis(100);

/// When a query is judged for a caller that waits until `deadline`: earlier, so that the response arrives in time and names the
/// provider that did not respond.
fn due(deadline: tokio::time::Instant) -> tokio::time::Instant {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    deadline - (left / 10).min(MAX_LEAD)
}

/// What the services use of the daemon.
pub(crate) struct Services {
    pub(crate) registry: Arc<Registry>,
    pub(crate) settings: Arc<Current>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) manager: ManagerHandle,
    /// The memory that large responses share, with the size that it was made for.
    pub(crate) budget: Budgets,
    pub(crate) started_at: SystemTime,
    pub(crate) addresses: Vec<String>,
    /// Stops the daemon.
    pub(crate) stop: tokio::sync::mpsc::Sender<()>,
}

/// The memory for large responses; it follows the settings.
#[derive(Default)]
pub(crate) struct Budgets(std::sync::Mutex<Option<(u64, Arc<MemoryBudget>)>>);

impl Budgets {
    /// The memory of this size. Responses that are on their way when the size changes are counted where they were.
    fn of_size(&self, bytes: u64) -> Arc<MemoryBudget> {
        let mut current = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*current {
            Some((size, budget)) if *size == bytes => Arc::clone(budget),
            _ => {
                let budget = Arc::new(MemoryBudget::new(bytes));
                *current = Some((bytes, Arc::clone(&budget)));
                budget
            }
        }
    }
}

impl Services {
    /// The services under their paths.
    pub(crate) fn into_router(self) -> Router {
        let version = Arc::new(Version(self.settings.load().config.version.clone()));
        let services = Arc::new(self);
        Router::new()
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
            .add_service(VersionServiceServer::<Version>::new(version))
    }

    /// A query of a caller, with the memory that its responses are counted against.
    fn query<M>(
        &self,
        caller: &Caller,
        request: &Request<M>,
        settings: &Settings,
        pattern: Pattern,
    ) -> Query {
        let budget = self.budget.of_size(settings.config.answer_memory);
        let may_ask = request.metadata().get(MAY_ASK_USER_HEADER);
        Query {
            pattern,
            request_id: caller.request_id,
            caller_pid: caller.peer.pid(),
            deadline: request.deadline().map(due),
            may_ask_user: may_ask.is_none_or(|value| value != "0"),
            reservation: budget.reservation(),
            budget,
        }
    }

    /// Permits an action and records a refusal.
    async fn permit(
        &self,
        caller: &Caller,
        action: &Action<'_>,
        (name, objects): (&'static str, &[&str]),
    ) -> Result<Permitted, Error> {
        let permitted = self.gate.permit(caller, action).await;
        if permitted.is_err() {
            self.record(caller, name, objects, || Outcome::of(&permitted))?;
        }
        permitted
    }

    fn record(
        &self,
        caller: &Caller,
        action: &'static str,
        objects: &[&str],
        outcome: impl FnOnce() -> Outcome,
    ) -> Result<(), Error> {
        self.audit.record(action, caller, || {
            outcome().about(objects.iter().map(|object| (*object).to_owned()))
        })
    }
}

/// Who made a request.
fn caller<M>(request: &Request<M>) -> Result<Caller, Error> {
    // Every request comes through the server, which puts the peer there.
    let peer = request
        .extensions()
        .get::<Arc<Peer>>()
        .ok_or_else(|| Error::internal("the caller of this request is not known"))?;
    Ok(Caller::new(Arc::clone(peer)))
}

/// Adds the request's id to a response.
fn with_id<M>(caller: &Caller, mut response: Response<M>) -> Response<M> {
    response
        .headers_mut()
        .insert(REQUEST_ID_HEADER, caller.request_id.header());
    response
}

/// Adds the request's id to an error.
fn error_with_id(caller: &Caller, mut error: Error) -> Error {
    error
        .own_metadata_mut()
        .insert(REQUEST_ID_HEADER, caller.request_id.header());
    error
}

/// The pattern in a request. It is not repeated in an error: what is not a pattern may be anything.
fn pattern(text: Option<&str>) -> Result<Pattern, Error> {
    let text = text.unwrap_or_default();
    if text.len() > MAX_PATTERN_LEN || text.split('/').count() > MAX_COMPONENTS {
        return Err(Error::invalid_argument(format!(
            "the pattern is too long: at most {MAX_PATTERN_LEN} bytes and {MAX_COMPONENTS} components are allowed"
        )));
    }
    text.parse()
        .map_err(|error| Error::invalid_argument(format!("the pattern is not valid: {error}")))
}
