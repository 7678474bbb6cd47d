//! The services of the misbehaving plugin on its connection.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use keyway_http::RequestBody;
use keyway_mux::Session;
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::v1::{CatalogService, ListSecretsRequest, ListSecretsResponse, Secret};
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp::Timestamp;
use keyway_proto::{INCOMPLETE_HEADER, MAY_ASK_USER_HEADER};
use keyway_rpc::{BinaryMetadata as _, Body, Code, Error, Request, Response, Router};
use keyway_secrets::{Id, Pattern};
use prost::Message as _;
use tower_service::Service as TowerService;

use super::{Player, fault, value_of};
use crate::behaviour::Behaviour;
use crate::script::{Decision, QueryResponse, Script};

/// The end of padded values.
const PADDING: &str = ".";

/// The services of the plugin.
#[derive(Clone)]
pub(super) struct Service {
    player: Player,
    session: Session,
}

impl Service {
    pub(super) fn new(player: Player, session: Session) -> Self {
        Self { player, session }
    }

    fn end(&self) {
        if self.player.behaviour != Behaviour::IgnoreShutdown {
            // Refuses new streams and ends when the open ones are done, this response's included.
            self.session.close();
        }
    }

    /// Applies a behaviour that replaces the response.
    async fn misbehave(&self, pattern: &str) -> Result<(), Error> {
        match self.player.behaviour {
            #[expect(
                clippy::disallowed_methods,
                reason = "the plugin is to die without an orderly end"
            )]
            Behaviour::CrashOnRequest if pattern.ends_with("crash") => std::process::exit(4),
            Behaviour::Slow if pattern.ends_with("slow") => pending().await,
            Behaviour::Fail => Err(Error::internal("backend exploded")),
            Behaviour::BackendTimedOut => {
                Err(Error::deadline_exceeded("the \x1b[31mvault\x1b[0m slept"))
            }
            _ => Ok(()),
        }
    }

    /// Applies the part of the script that replaces the response.
    async fn follow(&self, script: &Script, is_single: bool) -> Result<(), Error> {
        match &script.response {
            QueryResponse::Code(code) => {
                let code: Code = code.parse().expect("a Connect code");
                Err(Error::new(code, "the backend said no"))
            }
            QueryResponse::Failure(failure) => Err(failure.clone().into_error()),
            QueryResponse::FailureForPatterns(failure) if !is_single => {
                Err(failure.clone().into_error())
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "the plugin is to die without an orderly end"
            )]
            QueryResponse::Exit(status) => std::process::exit((*status).into()),
            QueryResponse::Hold => {
                if let Some(place) = &self.player.place {
                    place
                        .wait(|script| script.response != QueryResponse::Hold)
                        .await;
                }
                Ok(())
            }
            QueryResponse::Fault(fault) => {
                fault::before_response(fault, &self.player, &self.session).await;
                Ok(())
            }
            QueryResponse::Secrets
            | QueryResponse::FailureForPatterns(_)
            | QueryResponse::Garbage => Ok(()),
        }
    }

    /// The ids that it returns for a query, with their values.
    fn secrets(&self, script: &Script, query: &Pattern) -> Vec<(String, Vec<u8>)> {
        let is_requested = |id: &str| id.parse().is_ok_and(|id: Id| query.matches(&id));
        if let Some(secrets) = &script.secrets {
            let matching = secrets.iter().filter(|(id, _)| is_requested(id));
            return matching
                .map(|(id, value)| {
                    let padding = script.padding.get(id).copied().unwrap_or_default();
                    let value = value.clone() + &PADDING.repeat(padding);
                    (id.clone(), value.into_bytes())
                })
                .collect();
        }
        let name = &self.player.name;
        let mut ids = vec![format!("{name}/a"), format!("{name}/b")];
        if script.count > 0 {
            ids = (0..script.count)
                .map(|number| format!("{name}/{number}"))
                .collect();
        }
        if let Some(id) = query.as_id() {
            ids = vec![id.to_string()];
        }
        ids.retain(|id| is_requested(id) && !id.ends_with("absent"));
        let secrets = ids.into_iter().map(|id| {
            let value = value_of(&id);
            (id, value)
        });
        secrets.collect()
    }

    fn envelopes(&self, script: &Script, query: &Pattern) -> Vec<Envelope> {
        let mut secrets = self.secrets(script, query);
        let mut unrequested: BTreeSet<String> = script.unrequested.iter().cloned().collect();
        if self.player.behaviour == Behaviour::OutsideRealm {
            let unrequested_id = format!("{}/unrequested", self.player.name);
            unrequested.extend(["stolen/id".into(), "not an id".into(), unrequested_id]);
        }
        secrets.extend(unrequested.into_iter().map(|id| {
            let value = value_of(&id);
            (id, value)
        }));
        let is_careless = self.player.behaviour == Behaviour::Careless;
        if is_careless {
            secrets.extend(secrets.clone());
        }
        let expires_at = if is_careless {
            let seconds = i64::MAX;
            Some(Timestamp { seconds, nanos: -1 })
        } else {
            let time = script.expires_at;
            time.map(|seconds| Timestamp { seconds, nanos: 0 })
        };
        let envelopes = secrets.into_iter().map(|(id, value)| {
            let mut envelope = Envelope::default();
            envelope.id = Some(id);
            envelope.value = Some(value);
            envelope.provider = Some("another name".into());
            envelope.expires_at = expires_at;
            envelope
        });
        envelopes.collect()
    }

    async fn decide(&self, patterns: &[String]) -> Result<access::Decision, Error> {
        let is_denied = |pattern: &String| match self.player.script().decision {
            Decision::DenyDenied => pattern.ends_with("denied"),
            Decision::DenyAll => true,
            Decision::DenyBelow(prefix) => pattern.starts_with(&prefix),
            Decision::Hang | Decision::Fail => true,
        };
        match self.player.script().decision {
            Decision::Hang => pending().await,
            Decision::Fail => Err(Error::internal("the policy is gone")),
            _ if patterns.iter().any(is_denied) => Ok(access::Decision::Deny),
            _ => Ok(access::Decision::Allow),
        }
    }
}

impl plugins::PluginService for Service {
    async fn shutdown(
        &self,
        _: Request<plugins::ShutdownRequest>,
    ) -> Result<Response<plugins::ShutdownResponse>, Error> {
        self.end();
        Ok(Response::new(plugins::ShutdownResponse {}))
    }
}

impl resolver::PluginService for Service {
    async fn shutdown(
        &self,
        _: Request<resolver::ShutdownRequest>,
    ) -> Result<Response<resolver::ShutdownResponse>, Error> {
        self.end();
        Ok(Response::new(resolver::ShutdownResponse {}))
    }
}

impl access::AccessControlService for Service {
    async fn check_access(
        &self,
        request: Request<access::CheckAccessRequest>,
    ) -> Result<Response<access::CheckAccessResponse>, Error> {
        let pattern = request.message().pattern().to_owned();
        self.player.note(&format!("checked {pattern}"));
        let decision = self.decide(&[pattern]).await?;
        Ok(Response::new(access::CheckAccessResponse {
            decision: Some(decision.into()),
        }))
    }

    async fn authorize(
        &self,
        request: Request<access::AuthorizeRequest>,
    ) -> Result<Response<access::AuthorizeResponse>, Error> {
        let decision = self.decide(&request.message().patterns).await?;
        Ok(Response::new(access::AuthorizeResponse {
            decision: Some(decision.into()),
            expires_at: None,
        }))
    }
}

impl resolver::ResolverService for Service {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let may_prompt = request.metadata().get(MAY_ASK_USER_HEADER);
        let may_prompt = may_prompt.is_none_or(|value| value != "0");
        let pattern = request.into_message().pattern.unwrap_or_default();
        self.player
            .note(&format!("queried {pattern} may_prompt={may_prompt}"));
        let query: Pattern = pattern
            .parse()
            .map_err(|_| Error::invalid_argument("not a pattern"))?;
        self.misbehave(&pattern).await?;
        self.follow(&self.player.script(), query.as_id().is_some())
            .await?;
        let script = self.player.script();
        let envelopes = self.envelopes(&script, &query);
        if envelopes.is_empty() && script.incomplete.is_none() {
            return Err(Error::not_found("nothing"));
        }
        let mut response = Response::new(resolver::GetSecretsResponse { envelopes });
        if let Some(failure) = &script.incomplete {
            let failure = failure.to_wire().encode_to_vec();
            response
                .headers_mut()
                .append_binary(INCOMPLETE_HEADER, &failure)
                .expect("a binary header");
        }
        Ok(response)
    }
}

impl CatalogService for Service {
    async fn list_secrets(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Error> {
        let script = self.player.script();
        if !script.lists {
            return Err(Error::unimplemented("it has no list"));
        }
        let query: Pattern = request
            .message()
            .pattern()
            .parse()
            .map_err(|_| Error::invalid_argument("not a pattern"))?;
        let secrets = self.secrets(&script, &query).into_iter();
        let secrets = secrets.map(|(id, _)| Secret {
            id: Some(id),
            ..Secret::default()
        });
        Ok(Response::new(ListSecretsResponse {
            secrets: secrets.collect(),
            ..ListSecretsResponse::default()
        }))
    }
}

/// All services of the plugin, and the invalid bytes that none of them would send.
#[derive(Clone)]
pub(super) struct Wire {
    player: Player,
    router: Router,
}

impl Wire {
    pub(super) fn new(player: Player, router: Router) -> Self {
        Self { player, router }
    }
}

impl TowerService<http::Request<RequestBody>> for Wire {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let is_query = request.uri().path().ends_with("/GetSecrets");
        let script = self.player.script();
        if is_query && script.response == QueryResponse::Garbage {
            let values = script.secrets.into_iter().flatten();
            let values = values.flat_map(|(_, value)| value.into_bytes());
            let garbage: Vec<u8> = std::iter::repeat_n(0xff, 16).chain(values).collect();
            let response = http::Response::builder()
                .header("content-type", "application/proto")
                .body(Body::full(garbage))
                .expect("a response");
            return std::future::ready(Ok(response)).boxed();
        }
        let response = self.router.call(request);
        match script.response {
            QueryResponse::Fault(fault) if is_query => {
                let player = self.player.clone();
                let broken = move |response| fault::in_response(&fault, &player, response);
                response.map(move |done| done.map(broken)).boxed()
            }
            _ => response.boxed(),
        }
    }
}
