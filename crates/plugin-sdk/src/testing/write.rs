//! Calls that write, as a daemon makes them.

use std::collections::BTreeMap;

use keyway_proto::keyway::store::v1 as store;
use keyway_proto::write::Expected;
use keyway_rpc::Response;
use keyway_secrets::SecretValue;

use super::Call;
use super::call::{read_error, to_time};
use crate::{ProviderError, Removal, Removed, StoredVersion, WriteError};

impl Call<'_> {
    /// Stores a value under the id of the call, and returns the new version.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error.
    pub async fn set(
        self,
        value: impl Into<SecretValue>,
        expected: Expected,
    ) -> Result<String, WriteError> {
        self.set_with_metadata(value, BTreeMap::new(), expected)
            .await
    }

    /// As [`set`](Self::set), with attributes of the version.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error.
    pub async fn set_with_metadata(
        self,
        value: impl Into<SecretValue>,
        metadata: BTreeMap<String, String>,
        expected: Expected,
    ) -> Result<String, WriteError> {
        let mut request = store::SetRequest::default();
        request.id = Some(self.pattern().to_owned());
        request.value = Some(value.into().into_bytes());
        request.metadata = metadata;
        request.expected_version = expected.into_wire();
        let response = self.store().set(self.request(request)).await;
        self.read(response, |message| message.version.unwrap_or_default())
    }

    /// Removes the secret with the id of the call, or one version of it.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`NotFound`](crate::ErrorKind::NotFound) if there is none.
    pub async fn remove(self, removal: Removal) -> Result<Removed, WriteError> {
        let request = store::RemoveRequest {
            id: Some(self.pattern().to_owned()),
            version: removal.version,
            provider: None,
            expected_version: removal.expected.into_wire(),
        };
        let response = self.store().remove(self.request(request)).await;
        self.read(response, |message| {
            Removed::new(message.removed(), message.restorable())
        })
    }

    /// Lists the stored versions of the secret with the id of the call.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`NotFound`](crate::ErrorKind::NotFound) if there is none.
    pub async fn versions(self) -> Result<Vec<StoredVersion>, WriteError> {
        let request = store::VersionsRequest {
            id: Some(self.pattern().to_owned()),
            provider: None,
        };
        let response = self.store().versions(self.request(request)).await;
        let versions = self.read(response, |message| message.versions)?;
        let versions = versions.into_iter().map(to_stored);
        Ok(versions.collect::<Result<_, ProviderError>>()?)
    }

    /// Restores a version of the secret with the id of the call, and returns the new version.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`NotFound`](crate::ErrorKind::NotFound) if that version is not stored.
    pub async fn restore(self, version: impl Into<String>) -> Result<String, WriteError> {
        let request = store::RestoreRequest {
            id: Some(self.pattern().to_owned()),
            version: Some(version.into()),
            provider: None,
        };
        let response = self.store().restore(self.request(request)).await;
        self.read(response, |message| message.version.unwrap_or_default())
    }

    fn read<M, T>(
        &self,
        response: Result<Response<M>, keyway_rpc::Error>,
        convert: impl FnOnce(M) -> T,
    ) -> Result<T, WriteError> {
        match response {
            Ok(response) => Ok(convert(response.into_message())),
            Err(error) => Err(match store::Refusal::of_error(&error) {
                Some(refusal) => WriteError::UnexpectedVersion {
                    current: refusal
                        .current_version
                        .filter(|version| !version.is_empty()),
                },
                None => read_error(&error, self.pattern()).into(),
            }),
        }
    }
}

fn to_stored(version: store::Version) -> Result<StoredVersion, ProviderError> {
    let mut stored = StoredVersion::new(version.version.unwrap_or_default());
    stored.created_at = to_time(version.created_at)?;
    stored.removed_at = to_time(version.removed_at)?;
    stored.metadata = version.metadata;
    Ok(stored)
}
