//! Serving an access-control module: `AccessControlService`.

use std::future::Future;
use std::sync::Arc;

use keyway_local::with_causes;
use keyway_proto::accesscontrol::v1::{
    AccessControlService, AccessControlServiceServer, AuthorizeRequest, AuthorizeResponse,
    CheckAccessRequest, CheckAccessResponse,
};
use keyway_proto::limits::MAX_REQUEST_LEN;
use keyway_proto::registration::access_pattern;
use keyway_proto::timestamp;
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::Pattern;
use tokio::time::{Instant, timeout_at};

use crate::admission::Admission;
use crate::blocking::describe_stuck;
use crate::watchdog::watched;
use crate::{AccessControl, ProviderError, Requester};

pub(super) fn routes<A: AccessControl>(module: Arc<A>, admission: Admission) -> Router {
    let service = Service { module, admission };
    // The daemon adds the requester to the patterns of a request that was within the limit.
    Router::new()
        .max_message_size(2 * MAX_REQUEST_LEN)
        .add_service(AccessControlServiceServer::new(service))
}

struct Service<A> {
    module: Arc<A>,
    admission: Admission,
}

impl<A: AccessControl> AccessControlService for Service<A> {
    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Error> {
        let deadline = self.admission.admit(request.deadline()).await?;
        let message = request.into_message();
        let pattern = parse(&message.pattern.unwrap_or_default())?;
        let requester = Requester::from_wire(message.requester);
        let decision = self.module.check_access(&pattern, &requester);
        let decision = decide(deadline, watched("check_access", &pattern, decision)).await?;
        Ok(Response::new(CheckAccessResponse {
            decision: decision.to_wire(),
        }))
    }

    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Error> {
        let deadline = self.admission.admit(request.deadline()).await?;
        let message = request.into_message();
        let patterns: Result<Vec<_>, _> = message.patterns.iter().map(|text| parse(text)).collect();
        let patterns = patterns?;
        let Some(first) = patterns.first() else {
            return Err(Error::invalid_argument("at least one pattern is required"));
        };
        let requester = Requester::from_wire(message.requester);
        let authorization = self.module.authorize(&patterns, &requester);
        let authorization = decide(deadline, watched("authorize", first, authorization)).await?;
        Ok(Response::new(AuthorizeResponse {
            decision: authorization.decision.to_wire(),
            expires_at: Some(timestamp::to_wire(authorization.expires_at)),
        }))
    }
}

fn parse(text: &str) -> Result<Pattern, Error> {
    access_pattern(text).map_err(|error| Error::invalid_argument(with_causes(&error)))
}

/// Waits for a decision of the module until the deadline of the call.
async fn decide<T>(
    deadline: Instant,
    decision: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, Error> {
    match timeout_at(deadline, decision).await {
        Ok(result) => result.map_err(|error| {
            error.log_source(None);
            error.into_rpc()
        }),
        Err(_) => Err(Error::deadline_exceeded(format!(
            "the access-control module did not decide in time{}",
            describe_stuck()
        ))),
    }
}
