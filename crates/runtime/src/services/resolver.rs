//! Resolving and authorizing.

use keyway_proto::resolver::v1 as resolver;
use keyway_proto::{FAILED_PROVIDERS_HEADER, timestamp};
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::Pattern;

use super::{Services, caller, pattern};
use crate::resolve::{failed_providers_header, resolve};

impl resolver::ResolverService for Services {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let caller = caller(&request)?;
        let query = pattern(request.message().pattern.as_deref())?;
        crate::access::check(&self.engine, &caller, &query).await?;
        let resolution = resolve(&self.engine, &query, request.deadline()).await?;
        let header = failed_providers_header(&resolution.failed);
        let mut response = Response::new(resolver::GetSecretsResponse {
            envelopes: resolution.envelopes,
        });
        if let Some(names) = header {
            response
                .headers_mut()
                .insert(FAILED_PROVIDERS_HEADER, names);
        }
        Ok(response)
    }
}

impl resolver::AuthorizerService for Services {
    async fn authorize(
        &self,
        request: Request<resolver::AuthorizeRequest>,
    ) -> Result<Response<resolver::AuthorizeResponse>, Error> {
        let caller = caller(&request)?;
        let patterns = &request.message().patterns;
        if patterns.is_empty() {
            return Err(Error::invalid_argument("there is no pattern to authorize"));
        }
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| pattern(Some(text)))
            .collect::<Result<_, _>>()?;
        let expires_at = crate::access::authorize(&self.engine, &caller, &patterns).await?;
        Ok(Response::new(resolver::AuthorizeResponse {
            decision: Some(resolver::Decision::Allow.into()),
            expires_at: Some(timestamp::to_wire(expires_at)),
        }))
    }
}
