//! Listing without values.

use keyway_proto::keyway::v1 as keyway;
use keyway_rpc::{Error, Request, Response};

use super::Services;
use crate::authority::Action;
use crate::caller::Caller;
use crate::record::Outcome;
use crate::resolve::catalog::list_secrets;
use crate::resolve::failure::add_headers;
use crate::resolve::{Query, pattern};

impl keyway::CatalogService for Services {
    async fn list_secrets(
        &self,
        request: Request<keyway::ListSecretsRequest>,
    ) -> Result<Response<keyway::ListSecretsResponse>, Error> {
        let caller = Caller::of(&request)?;
        let requested = pattern(request.message().pattern.as_deref())?;
        let objects = [requested.as_str()];
        let action = Action::List(std::slice::from_ref(&requested));
        let permitted = self.permit(&caller, &action, ("list", &objects)).await?;
        let (permit, settings) = (&permitted.permit, &permitted.settings);
        let budget = self.budget.of(settings);
        let mut query = Query::new(&caller, &request, permit.narrow(&requested), budget);
        query.may_ask_user = false;
        let (listed, failures) = list_secrets(&self.registry, &query, permit).await;
        self.record(&caller, "list", &objects, || {
            let secrets = listed.secrets.iter();
            Outcome::found(
                secrets.map(|secret| (secret.id(), secret.provider())),
                failures.iter().map(|failure| failure.provider.to_string()),
            )
        })
        .await?;
        let mut response = Response::new(listed);
        add_headers(response.headers_mut(), &failures);
        if !query.reservation.is_empty() {
            response.extensions_mut().insert(query.reservation);
        }
        caller.add_id(response.headers_mut());
        Ok(response)
    }
}
