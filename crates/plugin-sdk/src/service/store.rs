//! Writing through a provider: `StoreService`.

use std::future::Future;
use std::sync::Arc;

use keyway_proto::keyway::store::v1 as store;
use keyway_proto::write::{Expected, InvalidWrite, check_content, check_id};
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::Pattern;
use tokio::time::timeout_at;

use crate::admission::Admission;
use crate::blocking::describe_stuck;
use crate::query::CallOptions;
use crate::watchdog::watched;
use crate::{NewVersion, ProviderError, Removal, SecretsProvider, Target, WriteError};

pub(super) fn routes<P: SecretsProvider>(
    router: Router,
    provider: Arc<P>,
    realm: Arc<[Pattern]>,
    admission: Admission,
) -> Router {
    let service = Service {
        provider,
        realm,
        admission,
    };
    router.add_service(store::StoreServiceServer::new(service))
}

struct Service<P> {
    provider: Arc<P>,
    realm: Arc<[Pattern]>,
    admission: Admission,
}

impl<P: SecretsProvider> store::StoreService for Service<P> {
    async fn set(
        &self,
        request: Request<store::SetRequest>,
    ) -> Result<Response<store::SetResponse>, Error> {
        let target = self.admit(&request, request.message().id()).await?;
        let mut message = request.into_message();
        let expected = Expected::from_wire(message.expected_version.take());
        let metadata = std::mem::take(&mut message.metadata);
        let value = message.take_value();
        check_content(value.len(), &metadata).map_err(invalid)?;
        let mut version = NewVersion::new(value).expecting(expected.clone());
        version.metadata = metadata;
        let stored = self.provider.set_secret(&target, version);
        let version = complete(&target, "set_secret", &expected, stored).await?;
        Ok(Response::new(store::SetResponse {
            version: Some(version),
            provider: None,
        }))
    }

    async fn remove(
        &self,
        request: Request<store::RemoveRequest>,
    ) -> Result<Response<store::RemoveResponse>, Error> {
        let target = self.admit(&request, request.message().id()).await?;
        let message = request.into_message();
        let removal = Removal {
            version: message.version,
            expected: Expected::from_wire(message.expected_version),
        };
        let expected = removal.expected.clone();
        let removed = self.provider.remove_secret(&target, removal);
        let removed = complete(&target, "remove_secret", &expected, removed).await?;
        Ok(Response::new(store::RemoveResponse {
            removed: Some(removed.count),
            restorable: Some(removed.restorable),
            provider: None,
        }))
    }

    async fn versions(
        &self,
        request: Request<store::VersionsRequest>,
    ) -> Result<Response<store::VersionsResponse>, Error> {
        let target = self.admit(&request, request.message().id()).await?;
        let versions = self.provider.list_versions(&target);
        let versions = complete(&target, "list_versions", &Expected::Any, versions).await?;
        if versions.is_empty() {
            let id = target.id();
            return Err(Error::not_found(format!("no version of `{id}` is stored")));
        }
        Ok(Response::new(store::VersionsResponse {
            versions: versions.into_iter().map(store::Version::from).collect(),
            provider: None,
        }))
    }

    async fn restore(
        &self,
        request: Request<store::RestoreRequest>,
    ) -> Result<Response<store::RestoreResponse>, Error> {
        let target = self.admit(&request, request.message().id()).await?;
        let version = request.message().version();
        if version.is_empty() {
            return Err(invalid(InvalidWrite::NoVersion));
        }
        let restored = self.provider.restore_version(&target, version);
        let version = complete(&target, "restore_version", &Expected::Any, restored).await?;
        Ok(Response::new(store::RestoreResponse {
            version: Some(version),
            provider: None,
        }))
    }
}

impl<P: SecretsProvider> Service<P> {
    /// Waits for admission and checks the id.
    async fn admit<M>(&self, request: &Request<M>, id: &str) -> Result<Target, Error> {
        let deadline = self.admission.admit(request.deadline()).await?;
        let options = CallOptions::from_headers(request.metadata(), deadline);
        let id = check_id(id).map_err(invalid)?;
        if !self.realm.iter().any(|pattern| pattern.matches(&id)) {
            let outside = ProviderError::invalid("the id is outside the realm of the provider");
            return Err(outside.into_rpc());
        }
        Ok(Target::received(id, options))
    }
}

/// Waits for the provider's result until the deadline of the call.
async fn complete<T>(
    target: &Target,
    handler: &'static str,
    expected: &Expected,
    result: impl Future<Output = Result<T, WriteError>>,
) -> Result<T, Error> {
    let pattern = Pattern::from(target.id());
    let result = watched(handler, &pattern, result);
    match timeout_at(target.deadline().into(), result).await {
        Ok(result) => result.map_err(|error| into_rpc(error, expected, target)),
        Err(_) => Err(Error::deadline_exceeded(format!(
            "the provider did not respond in time{}",
            describe_stuck()
        ))),
    }
}

/// Logs the cause of an error and converts it into the error of the RPC.
fn into_rpc(error: WriteError, expected: &Expected, target: &Target) -> Error {
    let message = error.to_string();
    match error {
        WriteError::UnexpectedVersion { current } => {
            store::Refusal::of_version(current.as_deref()).into_error(expected, message)
        }
        WriteError::Failed(error) => {
            error.log_source(target.request_id());
            error.into_rpc()
        }
    }
}

fn invalid(error: InvalidWrite) -> Error {
    ProviderError::invalid(error.to_string()).into_rpc()
}
