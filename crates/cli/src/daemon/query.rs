//! Queries of a command, and the failures that their errors cause.

use keyway_resolver::{FailureKind, GetOneError, Id, Pattern, ProviderFailure, ResolveError};

use super::Daemon;
use super::failure::{ambiguous, denied, not_found, request_failure, unavailable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::failures::Query;
use crate::globals::Globals;
use crate::inventory;

/// A client and the global options, from which failures of queries are built.
#[derive(Clone, Copy)]
pub(crate) struct QueryContext<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) globals: &'a Globals,
}

impl QueryContext<'_> {
    /// Converts the error of a query.
    pub(crate) async fn failure(self, pattern: &Pattern, error: ResolveError) -> Failure {
        match error {
            ResolveError::NotFound { .. } => not_found(pattern),
            ResolveError::Denied { message } => denied(pattern, &message),
            // A daemon that describes no failures names the providers in its message.
            ResolveError::Uncertain { message, failures }
                if failures.iter().all(is_undescribed) =>
            {
                Failure::new(
                    Exit::Unavailable,
                    message,
                    "Run `keyway plugins` to see the state of the providers, then try again",
                )
            }
            ResolveError::Uncertain { message, failures }
            | ResolveError::Conflict { message, failures } => self
                .provider_failure(pattern, &failures, false)
                .await
                .unwrap_or_else(|| unavailable(&message)),
            error => request_failure(error),
        }
    }

    /// Converts the error of a query for one id.
    pub(crate) async fn id_failure(self, id: &Id, error: GetOneError) -> Failure {
        match error {
            GetOneError::Resolve(error) => self.failure(&id.into(), error).await,
            GetOneError::Ambiguous { providers, .. } => ambiguous(id, &providers),
            error => Failure::error(error, "Run `keyway plugins` to see the providers"),
        }
    }

    /// Returns the failure that failed providers cause, if there are any. `is_partial` is `true` if a result was printed.
    pub(crate) async fn provider_failure(
        self,
        pattern: &Pattern,
        failures: &[ProviderFailure],
        is_partial: bool,
    ) -> Option<Failure> {
        if failures.is_empty() {
            return None;
        }
        let unrestricted = inventory::unrestricted(self.daemon).await;
        let query = Query {
            pattern,
            is_partial,
            no_ask: self.globals.no_ask,
            unrestricted: &unrestricted,
        };
        query.failure(failures)
    }
}

fn is_undescribed(failure: &ProviderFailure) -> bool {
    failure.kind == FailureKind::Unknown && failure.message.is_empty()
}
