//! The responses of a scripted daemon, by the pattern of the query.
use std::time::Duration;

use http::HeaderValue;
use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::keyway::v1::{
    CatalogService, CatalogServiceServer, FailureKind, Failures, ListSecretsRequest,
    ListSecretsResponse, ProviderFailure, Secret, Unlisted, unlisted,
};
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizeResponse, AuthorizerService, AuthorizerServiceServer, Decision,
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
    get_secrets_response,
};
use keyway_rpc::{BinaryMetadata as _, Error, ErrorDetail, Request, Response, Router};
use keyway_secrets::Envelope;
use keyway_test_support::scripted::Version;
use prost::Message as _;

struct Script;

/// An envelope as a daemon sends it.
pub(crate) fn envelope(id: &str, value: &str, provider: &str) -> get_secrets_response::Envelope {
    let mut envelope = Envelope::new(id.parse().unwrap(), value);
    envelope.provider = provider.to_owned();
    envelope.into()
}

/// One failed provider.
pub(crate) fn failures(kind: FailureKind, retry_after: Option<Duration>) -> Failures {
    let failure = ProviderFailure {
        name: Some("vault".to_owned()),
        kind: Some(kind.into()),
        message: Some("vault is locked".to_owned()),
        remedy: Some("unlock it with `vault unlock`".to_owned()),
        retry_after: retry_after.map(|time| time.try_into().unwrap()),
    };
    Failures {
        providers: vec![failure],
    }
}

fn found(
    envelopes: Vec<get_secrets_response::Envelope>,
) -> Result<Response<GetSecretsResponse>, Error> {
    Ok(Response::new(GetSecretsResponse { envelopes }))
}

impl ResolverService for Script {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        match request.message().pattern() {
            "demo/hit" => found(vec![envelope("demo/hit", "dummy", "demo")]),
            "demo/*" => found(vec![
                envelope("demo/a", "dummy-a", "demo"),
                envelope("demo/b", "dummy-b", "demo"),
            ]),
            "demo/twice" => found(vec![
                envelope("demo/twice", "1", "first"),
                envelope("demo/twice", "2", "second"),
            ]),
            "demo/large" => found(vec![envelope("demo/large", &"x".repeat(1 << 20), "demo")]),
            "demo/partial" => {
                let mut response = found(vec![envelope("demo/partial", "dummy", "demo")])?;
                response
                    .headers_mut()
                    .insert(FAILED_PROVIDERS_HEADER, "slow, broken".parse().unwrap());
                Ok(response)
            }
            "demo/foreign" => {
                let mut invalid = envelope("demo/x", "dummy", "demo");
                invalid.id = Some("not an id".to_owned());
                found(vec![envelope("other/id", "dummy", "demo"), invalid])
            }
            "demo/denied" => Err(Error::permission_denied("`guard` does not allow it")),
            "demo/broken" => {
                let mut error =
                    Error::unavailable("`broken` failed and no other provider has demo/broken");
                error
                    .own_metadata_mut()
                    .insert(FAILED_PROVIDERS_HEADER, "broken".parse().unwrap());
                Err(error)
            }
            "demo/locked" => {
                let failures = failures(FailureKind::Locked, None);
                let error = Error::unavailable("vault is locked");
                Err(error.with_detail(ErrorDetail::new(&failures)))
            }
            "demo/conflict" => {
                let failures = failures(FailureKind::Conflict, None);
                let error = Error::failed_precondition("vault and env disagree");
                Err(error.with_detail(ErrorDetail::new(&failures)))
            }
            "demo/state" => Err(Error::failed_precondition("guard cannot be turned off")),
            "demo/described" => {
                let mut response = found(vec![envelope("demo/described", "dummy", "demo")])?;
                let failures = failures(FailureKind::Quota, None);
                response
                    .headers_mut()
                    .append_binary("keyway-failures-bin", &failures.encode_to_vec())
                    .unwrap();
                Ok(response)
            }
            "demo/prompt" => {
                let value = match request.metadata().get("keyway-may-ask-user") {
                    Some(value) => value.to_str().unwrap(),
                    None => "absent",
                };
                found(vec![envelope("demo/prompt", value, "demo")])
            }
            "demo/never" => std::future::pending().await,
            "demo/internal" => Err(Error::internal("it broke")),
            other => Err(Error::not_found(format!("no provider has {other}"))),
        }
    }
}

impl AuthorizerService for Script {
    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Error> {
        let allowed = request
            .message()
            .patterns
            .iter()
            .all(|pattern| pattern.starts_with("demo/"));
        let decision = if allowed {
            Decision::Allow
        } else {
            Decision::Deny
        };
        let mut response = AuthorizeResponse::default();
        response.set_decision(decision);
        Ok(Response::new(response))
    }
}

impl CatalogService for Script {
    async fn list_secrets(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Error> {
        if request.metadata().get("keyway-may-ask-user") != Some(&HeaderValue::from_static("0")) {
            return Err(Error::internal("a listing did not forbid prompts"));
        }
        let secret = |id: &str| Secret {
            id: Some(id.to_owned()),
            provider: Some("demo".to_owned()),
            ..Secret::default()
        };
        let mut silent = Unlisted {
            provider: Some("env".to_owned()),
            pattern: Some("env/**".to_owned()),
            ..Unlisted::default()
        };
        silent.set_reason(unlisted::Reason::CannotList);
        Ok(Response::new(ListSecretsResponse {
            secrets: vec![secret("demo/hit"), secret("not an id")],
            unlisted: vec![silent],
        }))
    }
}

/// The script as a service, which is also a transport.
pub(crate) fn router() -> Router {
    Router::new()
        .add_service(ResolverServiceServer::new(Script))
        .add_service(AuthorizerServiceServer::new(Script))
        .add_service(CatalogServiceServer::new(Script))
        .add_service(VersionServiceServer::new(Version("v1.2.3")))
}
