//! Resolving and authorizing.

use keyway_proto::resolver::v1 as resolver;
use keyway_proto::{FAILED_PROVIDERS_HEADER, timestamp};
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::Pattern;

use super::{Services, caller, pattern};
use crate::audit::Outcome;
use crate::identity::Peer;
use crate::resolve::{Question, Resolution, failed_providers_header, resolve};

impl resolver::ResolverService for Services {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let caller = caller(&request)?;
        let query = pattern(request.message().pattern.as_deref())?;
        let question = self.question(&query, request.deadline());
        let result = self.find(&caller, &question).await;
        let outcome = match &result {
            Ok(resolution) => found(resolution),
            Err(error) => Outcome::failed(error),
        };
        self.engine
            .audit
            .record("get", &[query.to_string()], &caller, &outcome)?;
        let resolution = result?;
        let header = failed_providers_header(&resolution.failed);
        let mut response = Response::new(resolver::GetSecretsResponse {
            envelopes: resolution.envelopes,
        });
        if let Some(names) = header {
            response
                .headers_mut()
                .insert(FAILED_PROVIDERS_HEADER, names);
        }
        if question.claim.holds() {
            response.keep_until_sent(question.claim);
        }
        Ok(response)
    }
}

impl Services {
    async fn find(&self, caller: &Peer, question: &Question<'_>) -> Result<Resolution, Error> {
        crate::access::check(&self.engine, caller, question.query).await?;
        resolve(&self.engine, question).await
    }
}

/// What the audit log says of an answer.
fn found(resolution: &Resolution) -> Outcome {
    let mut providers: Vec<String> = resolution
        .envelopes
        .iter()
        .map(|envelope| envelope.provider().to_owned())
        .collect();
    providers.dedup();
    Outcome {
        code: "ok".into(),
        ids: resolution
            .envelopes
            .iter()
            .map(|envelope| envelope.id().to_owned())
            .collect(),
        failed: resolution
            .failed
            .iter()
            .map(|failure| failure.provider.to_string())
            .collect(),
        providers,
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
        let result = crate::access::authorize(&self.engine, &caller, &patterns).await;
        let outcome = result
            .as_ref()
            .map_or_else(Outcome::failed, |_| Outcome::ok());
        let texts: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
        self.engine
            .audit
            .record("authorize", &texts, &caller, &outcome)?;
        let expires_at = result?;
        Ok(Response::new(resolver::AuthorizeResponse {
            decision: Some(resolver::Decision::Allow.into()),
            expires_at: Some(timestamp::to_wire(expires_at)),
        }))
    }
}
