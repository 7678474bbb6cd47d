//! Resolving and authorizing.

use keyway_local::Reservation;
use keyway_proto::limits::MAX_AUTHORIZE_PATTERNS;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::timestamp;
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::Pattern;

use super::Services;
use crate::authority::{Action, Permit};
use crate::caller::Caller;
use crate::record::Outcome;
use crate::resolve::{Query, Resolution, failure, pattern, resolve};

impl resolver::ResolverService for Services {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let caller = Caller::of(&request)?;
        let requested = pattern(request.message().pattern.as_deref())?;
        let mut result = self.find(&caller, &requested, &request).await;
        self.audit
            .record("get", &caller, || {
                let outcome = match &result {
                    Ok((resolution, _)) => found(resolution),
                    Err(error) => Outcome::failed(error),
                };
                outcome.about([requested.to_string()])
            })
            .await?;
        if let Err(error) = &mut result {
            caller.add_id(error.own_metadata_mut());
        }
        let (resolution, reservation) = result?;
        let envelopes = resolution.envelopes.into_iter();
        let mut response = Response::new(resolver::GetSecretsResponse {
            envelopes: envelopes.map(|(_, envelope)| envelope).collect(),
        });
        failure::add_headers(response.headers_mut(), &resolution.failures);
        if !reservation.is_empty() {
            response.extensions_mut().insert(reservation);
        }
        caller.add_id(response.headers_mut());
        Ok(response)
    }
}

impl Services {
    /// Resolves the ids that the caller may read, and returns the reservation of the result. Should the settings change
    /// meanwhile, the caller is authorized again by the new ones: they may name a module that was not consulted.
    async fn find(
        &self,
        caller: &Caller,
        requested: &Pattern,
        request: &Request<resolver::GetSecretsRequest>,
    ) -> Result<(Resolution, Reservation), Error> {
        let action = Action::Resolve(std::slice::from_ref(requested));
        let mut permitted = self.authorizer.permit(caller, &action).await?;
        let budget = self.budget.of(&permitted.settings);
        let query = Query::new(caller, request, permitted.permit.narrow(requested), budget);
        let result = resolve(&self.registry, &self.settings, &query, &permitted.permit).await;
        if self.authorizer.has_changed(&permitted.settings) {
            permitted = self.authorizer.permit(caller, &action).await?;
            if self.authorizer.has_changed(&permitted.settings) {
                return Err(Error::unavailable(
                    "the configuration changed twice while the query was resolved: try again",
                ));
            }
        }
        result.map(|resolution| (covered(resolution, &permitted.permit), query.reservation))
    }
}

/// Returns the part of a result that the permit covers.
fn covered(mut resolution: Resolution, permit: &Permit) -> Resolution {
    resolution.envelopes.retain(|(id, _)| permit.covers(id));
    resolution
}

/// Returns the outcome that the audit log records for a result.
fn found(resolution: &Resolution) -> Outcome {
    let envelopes = resolution.envelopes.iter();
    let failed = resolution.failures.iter();
    Outcome::found(
        envelopes.map(|(id, envelope)| (id.as_str(), envelope.provider())),
        failed.map(|failure| failure.provider.to_string()),
    )
}

impl resolver::AuthorizerService for Services {
    async fn authorize(
        &self,
        request: Request<resolver::AuthorizeRequest>,
    ) -> Result<Response<resolver::AuthorizeResponse>, Error> {
        let caller = Caller::of(&request)?;
        let patterns = &request.message().patterns;
        if patterns.is_empty() {
            return Err(Error::invalid_argument("there is no pattern to authorize"));
        }
        if patterns.len() > MAX_AUTHORIZE_PATTERNS {
            return Err(Error::invalid_argument(format!(
                "{} patterns are too many to authorize at once: at most {MAX_AUTHORIZE_PATTERNS} are allowed",
                patterns.len()
            )));
        }
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| pattern(Some(text)))
            .collect::<Result<_, _>>()?;
        let action = Action::Authorize(&patterns);
        let result = self.authorizer.permit(&caller, &action).await;
        let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
        self.record(&caller, "authorize", &texts, || Outcome::of(&result))
            .await?;
        let permitted = result.map_err(|mut error| {
            caller.add_id(error.own_metadata_mut());
            error
        })?;
        let mut response = Response::new(resolver::AuthorizeResponse {
            decision: Some(resolver::Decision::Allow.into()),
            expires_at: Some(timestamp::to_wire(permitted.expires_at)),
        });
        caller.add_id(response.headers_mut());
        Ok(response)
    }
}
