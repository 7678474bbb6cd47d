//! Resolving and authorizing.

use keyway_proto::resolver::v1 as resolver;
use keyway_proto::timestamp;
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::Pattern;

use super::{Call, Services, call, error_with_id, pattern, with_id};
use crate::authority::{Action, Permit};
use crate::record::Outcome;
use crate::resolve::{Query, Resolution, failure, resolve};

impl resolver::ResolverService for Services {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let call = call(&request)?;
        let asked = pattern(request.message().pattern.as_deref())?;
        let query = self.query(&call, &request, asked.clone());
        let claim = query.claim.clone();
        let result = self.find(&call, &asked, query).await;
        let outcome = match &result {
            Ok(resolution) => found(resolution),
            Err(error) => Outcome::failed(error),
        };
        self.record(&call, "get", &[asked.to_string()], &outcome)?;
        let resolution = result.map_err(|error| error_with_id(&call, error))?;
        let mut response = Response::new(resolver::GetSecretsResponse {
            envelopes: resolution.envelopes,
        });
        failure::add_headers(response.headers_mut(), &resolution.failures);
        if claim.holds() {
            response.keep_until_sent(claim);
        }
        Ok(with_id(&call, response))
    }
}

impl Services {
    /// Resolves what the caller may read. Should the settings change meanwhile, the caller is judged again by the new ones: they
    /// may name a module that was not consulted.
    async fn find(
        &self,
        call: &Call,
        asked: &Pattern,
        mut query: Query,
    ) -> Result<Resolution, Error> {
        let patterns = [asked.clone()];
        let action = Action::Resolve(&patterns);
        let generation = self.gate.generation();
        let permit = self.permit_read(call, &action).await?;
        query.pattern = permit.narrow(asked);
        let result = resolve(&self.registry, &self.settings, &query, &permit).await;
        if !self.gate.has_changed(generation) {
            return result.map(|resolution| covered(resolution, &permit));
        }
        let generation = self.gate.generation();
        let permit = self.permit_read(call, &action).await?;
        if self.gate.has_changed(generation) {
            return Err(Error::unavailable(
                "the configuration changed twice while the query was resolved: try again",
            ));
        }
        result.map(|resolution| covered(resolution, &permit))
    }

    async fn permit_read(&self, call: &Call, action: &Action<'_>) -> Result<Permit, Error> {
        let permitted = self
            .gate
            .permit(&call.peer, action, call.request_id)
            .await?;
        Ok(permitted.permit)
    }
}

/// What of a result the permit covers.
fn covered(mut resolution: Resolution, permit: &Permit) -> Resolution {
    resolution
        .envelopes
        .retain(|envelope| envelope.id().parse().is_ok_and(|id| permit.covers(&id)));
    resolution
}

/// What the audit log says of a result.
fn found(resolution: &Resolution) -> Outcome {
    let envelopes = resolution.envelopes.iter();
    let failed = resolution.failures.iter();
    Outcome::found(
        envelopes.map(|envelope| (envelope.id(), envelope.provider())),
        failed.map(|failure| failure.provider.to_string()),
    )
}

impl resolver::AuthorizerService for Services {
    async fn authorize(
        &self,
        request: Request<resolver::AuthorizeRequest>,
    ) -> Result<Response<resolver::AuthorizeResponse>, Error> {
        let call = call(&request)?;
        let patterns = &request.message().patterns;
        if patterns.is_empty() {
            return Err(Error::invalid_argument("there is no pattern to authorize"));
        }
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| pattern(Some(text)))
            .collect::<Result<_, _>>()?;
        let action = Action::Authorize(&patterns);
        let result = self.gate.permit(&call.peer, &action, call.request_id).await;
        let outcome = match &result {
            Ok(_) => Outcome::ok(),
            Err(error) => Outcome::failed(error),
        };
        let texts: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
        self.record(&call, "authorize", &texts, &outcome)?;
        let permitted = result.map_err(|error| error_with_id(&call, error))?;
        let response = Response::new(resolver::AuthorizeResponse {
            decision: Some(resolver::Decision::Allow.into()),
            expires_at: Some(timestamp::to_wire(permitted.expires_at)),
        });
        Ok(with_id(&call, response))
    }
}
