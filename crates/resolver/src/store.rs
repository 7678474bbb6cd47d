//! Writing secrets through the daemon.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::HeaderValue;
use keyway_proto::FORCE_HEADER;
use keyway_proto::keyway::store::v1 as wire;
use keyway_proto::timestamp;
use keyway_proto::write::{Expected, StoredVersion};
use keyway_rpc::Request;
use keyway_rpc::client::Transport;
use keyway_secrets::{Id, SecretValue};

use crate::client::forbid_prompts;
use crate::{Resolver, WriteError};

/// A client that writes secrets through the daemon, made by [`Resolver::store`].
///
/// The daemon authorizes each write, records it, and forwards it to one provider. No write is sent twice: if its response is lost,
/// the error says so, and [`versions`](Self::versions) shows what happened.
///
/// ```no_run
/// use keyway_resolver::{DaemonSocket, Expected, Resolver};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Resolver::new(DaemonSocket::from_env()?).store();
/// let id = "api/token".parse()?;
/// let stored = store.set(&id, "not-a-real-token".into(), Expected::Absent).await?;
/// println!("version {} in {}", stored.version, stored.provider);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Store<S> {
    resolver: Resolver<S>,
    provider: Option<String>,
    force: bool,
}

/// A stored version of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The version, which is the current one now.
    pub version: String,
    /// The name of the plugin that stores it.
    pub provider: String,
}

/// The result of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The number of removed versions.
    pub count: u32,
    /// `true` if [`Store::restore`] can bring them back.
    pub restorable: bool,
    /// The name of the plugin that removed them.
    pub provider: String,
}

/// The history of a secret at one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versions {
    /// Newest first.
    pub versions: Vec<StoredVersion>,
    /// The name of the plugin that stores them.
    pub provider: String,
}

impl<S: Transport> Resolver<S> {
    /// Returns a client that writes, with the transport, the timeout and the permission to prompt of this one.
    pub fn store(&self) -> Store<S> {
        Store {
            resolver: self.clone(),
            provider: None,
            force: false,
        }
    }
}

impl<S: Transport> Store<S> {
    /// Names the plugin that writes. Default: the one that the daemon's configuration names, `file` unless it is changed.
    #[must_use]
    pub fn with_provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// Sets whether a value is stored although another provider outranks or equals it, so that a query would not return it.
    /// Default: `false`.
    #[must_use]
    pub fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Stores a value as the current version of a secret.
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::UnexpectedVersion`] if another version than the expected one is the current one, and
    /// [`WriteError::Outranked`] if a query would not return the value.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request. Whether the value was stored is not known then.
    pub async fn set(
        &self,
        id: &Id,
        value: SecretValue,
        expected: Expected,
    ) -> Result<Stored, WriteError> {
        self.set_with_metadata(id, value, BTreeMap::new(), expected)
            .await
    }

    /// As [`set`](Self::set), with attributes of the version, which are not secret: at most 64 entries and 16 KiB.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Self::set).
    pub async fn set_with_metadata(
        &self,
        id: &Id,
        value: SecretValue,
        metadata: BTreeMap<String, String>,
        expected: Expected,
    ) -> Result<Stored, WriteError> {
        let mut message = wire::SetRequest::of(id, value);
        message.metadata = metadata;
        message.expected_version = expected.into_wire();
        message.provider.clone_from(&self.provider);
        let response = self.client().set(self.request(message)).await?;
        let response = response.into_message();
        Ok(Stored {
            version: response.version.unwrap_or_default(),
            provider: response.provider.unwrap_or_default(),
        })
    }

    /// Removes a secret, or with `version` one version of it.
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::NotFound`] if there is no such secret or version, and [`WriteError::UnexpectedVersion`] if another
    /// version than the expected one is the current one.
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Self::set).
    pub async fn remove(
        &self,
        id: &Id,
        version: Option<&str>,
        expected: Expected,
    ) -> Result<Removed, WriteError> {
        let message = wire::RemoveRequest {
            id: Some(id.to_string()),
            version: version.map(str::to_owned),
            provider: self.provider.clone(),
            expected_version: expected.into_wire(),
        };
        let response = self.client().remove(self.request(message)).await?;
        let response = response.into_message();
        Ok(Removed {
            count: response.removed(),
            restorable: response.restorable(),
            provider: response.provider.unwrap_or_default(),
        })
    }

    /// Lists the stored versions of a secret, removed ones included, without values.
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::NotFound`] if there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn versions(&self, id: &Id) -> Result<Versions, WriteError> {
        let message = wire::VersionsRequest {
            id: Some(id.to_string()),
            provider: self.provider.clone(),
        };
        let response = self.client().versions(self.request(message)).await?;
        let response = response.into_message();
        let versions = response.versions.into_iter().map(to_stored);
        Ok(Versions {
            versions: versions.collect(),
            provider: response.provider.unwrap_or_default(),
        })
    }

    /// Stores the value of an earlier version as the current one.
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::NotFound`] if that version is not stored, and [`WriteError::Outranked`] if a query would not return
    /// the value.
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Self::set).
    pub async fn restore(&self, id: &Id, version: &str) -> Result<Stored, WriteError> {
        let message = wire::RestoreRequest {
            id: Some(id.to_string()),
            version: Some(version.to_owned()),
            provider: self.provider.clone(),
        };
        let response = self.client().restore(self.request(message)).await?;
        let response = response.into_message();
        Ok(Stored {
            version: response.version.unwrap_or_default(),
            provider: response.provider.unwrap_or_default(),
        })
    }

    fn client(&self) -> wire::StoreServiceClient<S> {
        wire::StoreServiceClient::from(self.resolver.rpc())
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if !self.resolver.may_ask_user() {
            forbid_prompts(&mut request);
        }
        if self.force {
            let headers = request.metadata_mut();
            headers.insert(FORCE_HEADER, HeaderValue::from_static("1"));
        }
        request
    }
}

fn to_stored(version: wire::Version) -> StoredVersion {
    let mut stored = StoredVersion::new(version.version.unwrap_or_default());
    // An invalid time of a peer counts as unknown; that a version was removed must not get lost.
    stored.created_at = timestamp::from_wire(version.created_at).unwrap_or_default();
    let removed_at = timestamp::from_wire(version.removed_at);
    stored.removed_at = removed_at.unwrap_or(Some(SystemTime::UNIX_EPOCH));
    stored.metadata = version.metadata;
    stored
}
