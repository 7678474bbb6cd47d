//! Writes with scripted responses: the requests that reach the daemon, and the conversion of each error.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::HeaderMap;
use keyway_proto::keyway::store::v1 as wire;
use keyway_proto::keyway::v1::FailureKind as Kind;
use keyway_resolver::{
    Expected, FailureKind, Id, ResolveError, Resolver, Store, StoredVersion, WriteError,
};
use keyway_rpc::{Error, ErrorDetail, Request, Response, Router};

use crate::script::failures;

/// A daemon whose id selects its behaviour, and that keeps the last request.
#[derive(Default)]
struct Script {
    seen: Mutex<Option<(wire::SetRequest, HeaderMap)>>,
}

fn store() -> Store<Router> {
    let service = wire::StoreServiceServer::new(Script::default());
    Resolver::new(Router::new().add_service(service)).store()
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

impl Script {
    /// Returns the last request, in the form of a version.
    fn version(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let (message, headers) = seen.as_ref().unwrap();
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        format!(
            "value {:?}, metadata {:?}, expected {:?}, provider {:?}, force {:?}, ask {:?}",
            String::from_utf8_lossy(message.value()),
            message.metadata,
            message.expected_version,
            message.provider,
            header("keyway-force"),
            header("keyway-may-ask-user"),
        )
    }
}

impl wire::StoreService for Script {
    async fn set(
        &self,
        request: Request<wire::SetRequest>,
    ) -> Result<Response<wire::SetResponse>, Error> {
        let headers = request.metadata().clone();
        let message = request.into_message();
        let any = Expected::Any;
        let failure = match message.id() {
            "exists" => wire::Refusal::of_version(Some("3")).into_error(&Expected::Absent, "there"),
            "bare" => Error::already_exists("there"),
            "outranked" => wire::Refusal::of_providers(vec!["env".to_owned()])
                .into_error(&any, "env has it")
                .with_detail(ErrorDetail::new(&failures(Kind::Locked, None))),
            "locked" => Error::unavailable("vault is locked")
                .with_detail(ErrorDetail::new(&failures(Kind::Locked, None))),
            "refused" => Error::failed_precondition("env does not store secrets"),
            "denied" => Error::permission_denied("no"),
            "later" => Error::unavailable("the daemon is stopping"),
            _ => {
                *self.seen.lock().unwrap() = Some((message, headers));
                return Ok(Response::new(wire::SetResponse {
                    version: Some(self.version()),
                    provider: Some("file".to_owned()),
                }));
            }
        };
        Err(failure)
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveRequest>,
    ) -> Result<Response<wire::RemoveResponse>, Error> {
        let message = request.into_message();
        let seen = (
            message.id(),
            message.version.as_deref(),
            message.expected_version.as_deref(),
        );
        assert_eq!(seen, ("demo/a", Some("2"), Some("3")));
        Ok(Response::new(wire::RemoveResponse {
            removed: Some(1),
            restorable: Some(true),
            provider: Some("file".to_owned()),
        }))
    }

    async fn versions(
        &self,
        request: Request<wire::VersionsRequest>,
    ) -> Result<Response<wire::VersionsResponse>, Error> {
        if request.message().id() == "none" {
            return Err(Error::not_found("no version"));
        }
        let broken = prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        };
        let removed = wire::Version {
            version: Some("1".to_owned()),
            created_at: Some(broken),
            removed_at: Some(broken),
            ..wire::Version::default()
        };
        let current = wire::Version {
            version: Some("2".to_owned()),
            ..wire::Version::default()
        };
        Ok(Response::new(wire::VersionsResponse {
            versions: vec![current, removed],
            provider: Some("file".to_owned()),
        }))
    }

    async fn restore(
        &self,
        request: Request<wire::RestoreRequest>,
    ) -> Result<Response<wire::RestoreResponse>, Error> {
        Ok(Response::new(wire::RestoreResponse {
            version: Some(format!("{} again", request.message().version())),
            provider: Some("file".to_owned()),
        }))
    }
}

#[tokio::test]
async fn a_write_carries_its_value_and_options() {
    let stored = store()
        .set(&id("demo/a"), "dummy".into(), Expected::Any)
        .await
        .unwrap();
    assert_eq!(stored.provider, "file");
    assert_eq!(
        stored.version,
        "value \"dummy\", metadata {}, expected None, provider None, force None, ask None"
    );
    let service = wire::StoreServiceServer::new(Script::default());
    let store = Resolver::new(Router::new().add_service(service))
        .with_may_ask_user(false)
        .store()
        .with_provider("vault")
        .with_force(true);
    let metadata = BTreeMap::from([("owner".to_owned(), "ann".to_owned())]);
    let demo = id("demo/a");
    let set = store.set_with_metadata(&demo, "dummy".into(), metadata, Expected::Absent);
    assert_eq!(
        set.await.unwrap().version,
        "value \"dummy\", metadata {\"owner\": \"ann\"}, expected Some(\"\"), provider Some(\"vault\"), force Some(\"1\"), ask Some(\"0\")"
    );
}

#[tokio::test]
async fn removals_versions_and_restores_are_decoded() {
    let expected = Expected::Version("3".to_owned());
    let removed = store()
        .remove(&id("demo/a"), Some("2"), expected)
        .await
        .unwrap();
    assert_eq!(
        (removed.count, removed.restorable, removed.provider.as_str()),
        (1, true, "file")
    );
    let versions = store().versions(&id("demo/a")).await.unwrap();
    let [current, removed]: &[StoredVersion; 2] = versions.versions.as_slice().try_into().unwrap();
    assert_eq!((current.version.as_str(), current.removed_at), ("2", None));
    assert_eq!(removed.created_at, None);
    assert!(
        removed.removed_at.is_some(),
        "an invalid time does not undo a removal"
    );
    let restored = store().restore(&id("demo/a"), "2").await.unwrap();
    assert_eq!(restored.version, "2 again");
}

#[tokio::test]
async fn each_refusal_and_failure_has_its_kind() {
    let error = async |name: &str| {
        let (store, id) = (store(), id(name));
        let set = store.set(&id, "dummy".into(), Expected::Absent);
        set.await.unwrap_err()
    };
    assert!(matches!(
        error("exists").await,
        WriteError::UnexpectedVersion { current: Some(version), .. } if version == "3"
    ));
    assert!(matches!(
        error("bare").await,
        WriteError::UnexpectedVersion { current: None, .. }
    ));
    match error("outranked").await {
        WriteError::Outranked {
            providers,
            failures,
            ..
        } => {
            assert_eq!(providers, ["env"]);
            assert_eq!(failures[0].kind, FailureKind::Locked);
        }
        other => panic!("{other:?}"),
    }
    match error("locked").await {
        WriteError::Failed { failures, .. } => assert_eq!(failures[0].name, "vault"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(error("refused").await, WriteError::Refused { .. }));
    assert!(matches!(
        error("denied").await,
        WriteError::Daemon(ResolveError::Denied { .. })
    ));
    assert!(matches!(
        error("later").await,
        WriteError::Daemon(ResolveError::Unavailable { .. })
    ));
    let none = store().versions(&id("none")).await.unwrap_err();
    assert!(matches!(none, WriteError::NotFound { .. }));
    let unsupported = Resolver::new(Router::new()).store();
    let error = unsupported.versions(&id("a")).await.unwrap_err();
    assert!(
        matches!(error, WriteError::Daemon(ResolveError::Unsupported { .. })),
        "{error:?}"
    );
}
