//! Listing without values.

use keyway_proto::keyway::v1 as keyway;
use keyway_rpc::{Error, Request, Response};

use super::{Services, call, error_with_id, pattern, with_id};
use crate::authority::Action;
use crate::record::Outcome;
use crate::resolve::catalog::list_secrets;
use crate::resolve::failure::add_headers;

impl keyway::CatalogService for Services {
    async fn list_secrets(
        &self,
        request: Request<keyway::ListSecretsRequest>,
    ) -> Result<Response<keyway::ListSecretsResponse>, Error> {
        let call = call(&request)?;
        let asked = [pattern(request.message().pattern.as_deref())?];
        let texts = [asked[0].to_string()];
        let action = Action::List(&asked);
        let permit = self
            .permit(&call, &action, ("list", &texts))
            .await
            .map_err(|error| error_with_id(&call, error))?;
        let mut query = self.query(&call, &request, permit.narrow(&asked[0]));
        query.may_ask_user = false;
        let (mut listed, failures) = list_secrets(&self.registry, &query, &permit).await;
        listed
            .secrets
            .retain(|secret| secret.id().parse().is_ok_and(|id| permit.covers(&id)));
        let secrets = listed.secrets.iter();
        let outcome = Outcome::found(
            secrets.map(|secret| (secret.id(), secret.provider())),
            failures.iter().map(|failure| failure.provider.to_string()),
        );
        self.record(&call, "list", &texts, &outcome)?;
        let mut response = Response::new(listed);
        add_headers(response.headers_mut(), &failures);
        if query.claim.holds() {
            response.keep_until_sent(query.claim);
        }
        Ok(with_id(&call, response))
    }
}
