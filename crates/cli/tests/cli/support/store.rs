//! The store of the scripted daemon, by the id of the secret.

use keyway_proto::keyway::store::v1 as store;
use keyway_proto::keyway::v1::{FailureKind, Failures, ProviderFailure};
use keyway_proto::timestamp;
use keyway_proto::write::Expected;
use keyway_rpc::{Error, ErrorDetail, Request, Response};
use std::time::{Duration, SystemTime};

struct Script;

pub(super) fn service() -> store::StoreServiceServer<impl store::StoreService> {
    store::StoreServiceServer::new(Script)
}

/// The error for an id that cannot be written.
fn check(id: &str, is_forced: bool) -> Result<(), Error> {
    let any = Expected::Any;
    Err(match id {
        "env/home" if !is_forced => store::Refusal::of_providers(vec!["env".to_owned()]).into_error(
            &any,
            "env/home would not be returned from file, because env provides it with a higher or the same rank. \
             Write nevertheless with `--force`",
        ),
        "x/there" => store::Refusal::of_version(Some("3")).into_error(&any, "file has x/there already"),
        "x/locked" => failed(FailureKind::Locked, "unlock it with `vault unlock`"),
        "x/late" => failed(FailureKind::TimedOut, ""),
        "x/denied" => Error::permission_denied("module `guard` said no"),
        "x/reader" => Error::failed_precondition(
            "env does not store secrets. Choose another provider with `--to`",
        ),
        "x/none" => Error::not_found("file has no secret x/none"),
        "x/busy" => Error::unavailable("the daemon is stopping"),
        _ => return Ok(()),
    })
}

fn failed(kind: FailureKind, remedy: &str) -> Error {
    let failure = ProviderFailure {
        name: Some("vault".to_owned()),
        kind: Some(kind.into()),
        remedy: Some(remedy.to_owned()),
        ..ProviderFailure::default()
    };
    let failures = Failures {
        providers: vec![failure],
    };
    Error::unavailable("vault failed").with_detail(ErrorDetail::new(&failures))
}

fn provider(named: Option<String>) -> Option<String> {
    Some(named.unwrap_or_else(|| "file".to_owned()))
}

impl store::StoreService for Script {
    async fn set(
        &self,
        request: Request<store::SetRequest>,
    ) -> Result<Response<store::SetResponse>, Error> {
        let is_forced = request.metadata().contains_key("keyway-force");
        let mut message = request.into_message();
        check(message.id(), is_forced)?;
        Ok(Response::new(store::SetResponse {
            version: Some("4".to_owned()),
            provider: provider(message.provider.take()),
        }))
    }

    async fn remove(
        &self,
        request: Request<store::RemoveRequest>,
    ) -> Result<Response<store::RemoveResponse>, Error> {
        let message = request.into_message();
        check(message.id(), true)?;
        if message
            .expected_version
            .as_deref()
            .is_some_and(|version| version != "3")
        {
            return Err(store::Refusal::of_version(Some("3")).into_error(&Expected::Any, "changed"));
        }
        Ok(Response::new(store::RemoveResponse {
            removed: Some(2),
            restorable: Some(message.id() != "x/vault"),
            provider: provider(message.provider),
        }))
    }

    async fn versions(
        &self,
        request: Request<store::VersionsRequest>,
    ) -> Result<Response<store::VersionsResponse>, Error> {
        let message = request.into_message();
        check(message.id(), true)?;
        let time = |days: u64| {
            let since = Duration::from_secs(1_795_370_400 + days * 24 * 3600);
            Some(timestamp::to_wire(Some(SystemTime::UNIX_EPOCH + since)))
        };
        let version = |number: u64, removed_at| store::Version {
            version: Some(number.to_string()),
            created_at: time(number),
            removed_at,
            ..store::Version::default()
        };
        Ok(Response::new(store::VersionsResponse {
            versions: vec![version(4, time(9)), version(3, None), version(1, None)],
            provider: provider(message.provider),
        }))
    }

    async fn restore(
        &self,
        request: Request<store::RestoreRequest>,
    ) -> Result<Response<store::RestoreResponse>, Error> {
        let message = request.into_message();
        check(message.id(), true)?;
        Ok(Response::new(store::RestoreResponse {
            version: Some("5".to_owned()),
            provider: provider(message.provider),
        }))
    }
}
