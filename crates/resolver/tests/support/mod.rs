//! A daemon for tests: a script behind the generated services, as a transport or on a bound socket.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of this module"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use keyway_http::{Limits, serve_connection};
use keyway_local::Address;
use keyway_proto::health::v1::{
    GetVersionRequest, GetVersionResponse, VersionService, VersionServiceServer,
};
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
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};

/// What the daemon says, by the pattern that is asked for.
pub struct Script;

/// An envelope as a daemon sends it.
pub fn envelope(id: &str, value: &str, provider: &str) -> get_secrets_response::Envelope {
    let mut envelope = Envelope::new(id.parse().unwrap(), value);
    envelope.provider = provider.to_owned();
    envelope.into()
}

/// One failed provider.
pub fn failures(kind: FailureKind, retry_after: Option<Duration>) -> Failures {
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
                    .insert("keyway-failed-providers", "slow, broken".parse().unwrap());
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
                    Error::unavailable("`broken` failed and nobody else has demo/broken");
                error
                    .own_metadata_mut()
                    .insert("keyway-failed-providers", "broken".parse().unwrap());
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

impl VersionService for Script {
    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Error> {
        Ok(Response::new(GetVersionResponse {
            version: Some("v1.2.3".to_owned()),
            ..GetVersionResponse::default()
        }))
    }
}

/// The script as a service, which is a transport too.
pub fn router() -> Router {
    Router::new()
        .add_service(ResolverServiceServer::new(Script))
        .add_service(AuthorizerServiceServer::new(Script))
        .add_service(CatalogServiceServer::new(Script))
        .add_service(VersionServiceServer::new(Script))
}

/// The script on a socket, until it is dropped.
pub struct Daemon {
    pub path: PathBuf,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Daemon {
    /// Listens at a path, which is bound when this returns.
    pub fn listen(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, Arc::clone(&accepted)));
        Self {
            path,
            accepted,
            task,
        }
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn address(&self) -> Address {
        self.path.clone().into()
    }

    /// Ends all connections and removes the socket.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
        std::fs::remove_file(&self.path).unwrap();
    }
}

async fn accept(listener: UnixListener, accepted: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        accepted.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            let config = Limits::default().head_timeout(Duration::from_secs(60));
            let never = std::future::pending();
            let _ = serve_connection(stream, router(), &config, never).await;
        });
    }
}
