//! Listing without values.

use keyway_proto::keyway::v1 as keyway;
use keyway_rpc::{Error, Request, Response};

use super::{Services, caller, pattern};
use crate::audit::Outcome;
use crate::resolve::list_secrets;

impl keyway::CatalogService for Services {
    async fn list_secrets(
        &self,
        request: Request<keyway::ListSecretsRequest>,
    ) -> Result<Response<keyway::ListSecretsResponse>, Error> {
        let caller = caller(&request)?;
        let query = pattern(request.message().pattern.as_deref())?;
        // Names of secrets are told only to who could read them.
        let allowed = crate::access::check(&self.engine, &caller, &query).await;
        let outcome = allowed
            .as_ref()
            .map_or_else(Outcome::failed, |()| Outcome::ok());
        self.engine
            .audit
            .record("list", &[query.to_string()], &caller, &outcome)?;
        allowed?;
        let question = self.question(&query, request.deadline());
        let mut response = Response::new(list_secrets(&self.engine, &question).await);
        if question.claim.holds() {
            response.keep_until_sent(question.claim);
        }
        Ok(response)
    }
}
