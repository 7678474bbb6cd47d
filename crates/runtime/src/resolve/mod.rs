//! Resolving a query: which providers are called, what of their responses counts, and what the caller receives.

pub(crate) mod admit;
mod ask;
pub(crate) mod catalog;
pub(crate) mod explain;
pub(crate) mod failure;
pub(crate) mod judge;
mod plan;
mod rank;

use keyway_rpc::Error;

use crate::authority::{Permit, is_within_reserved};
use crate::config::Current;
use crate::registry::Registry;
use plan::Plan;

pub(crate) use ask::Query;
pub(crate) use failure::Failure;
pub(crate) use judge::Resolution;

/// Resolves `query` by the settings in force when it is answered.
///
/// # Errors
///
/// - `not_found` if every candidate has answered that it holds no match;
/// - `unavailable` if that is uncertain because a candidate failed;
/// - `failed_precondition` if candidates of equal rank disagree.
///
/// The last two carry `keyway.v1.Failures`.
pub(crate) async fn resolve(
    registry: &Registry,
    settings: &Current,
    query: &Query,
    permit: &Permit,
) -> Result<Resolution, Error> {
    if is_within_reserved(&query.pattern) {
        return Err(judge::reserved(&query.pattern));
    }
    for _ in 0..2 {
        let generation = settings.generation();
        let plan = Plan::new(
            &registry.snapshot(),
            &query.pattern,
            permit.excluded_plugin(),
        );
        let mut asked = ask::ask(registry, query, plan).await;
        if settings.generation() != generation {
            // The result is judged by the settings that are in force now.
            asked.plan = Plan::new(
                &registry.snapshot(),
                &query.pattern,
                permit.excluded_plugin(),
            );
        }
        let result = judge::judge(&query.pattern, &asked.plan, &mut asked.responses);
        if let Some(result) = result {
            return result;
        }
    }
    Err(Error::unavailable(
        "the configuration changed twice while the query was resolved: try again",
    ))
}
