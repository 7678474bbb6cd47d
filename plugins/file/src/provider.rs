//! The provider that serves a store.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use keyway_local::with_causes;
use keyway_plugin_sdk::{
    Description, Envelope, ErrorKind, Id, Listed, NewVersion, Pattern, Plugin, ProviderError,
    Query, Removal, Removed, SecretsProvider, StoredVersion, Target, WriteError, blocking,
};

use crate::{MAX_RESPONSE_LEN, PASSPHRASE_FILE_VARIABLE, Store, StoreConfig, StoreError};

/// Largest response without a memory reservation, in bytes.
const UNRESERVED_LEN: u64 = 64 * 1024;

/// A provider that serves a [`Store`]. Its realm is `**`, and it can list.
#[derive(Debug)]
pub struct FileProvider {
    store: Arc<Store>,
}

impl FileProvider {
    /// Creates a provider of this store. Opens no file before the first call.
    pub fn new(store: Store) -> Self {
        Self {
            store: Arc::new(store),
        }
    }
}

impl SecretsProvider for FileProvider {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    fn version(&self) -> &str {
        keyway_plugin_sdk::version!()
    }

    fn describe(&self) -> Description {
        Description::new()
            .description("Secrets in a local directory, encrypted with age")
            .shareable(true)
            .lists(true)
            .stores(true)
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        // Cached values cost two system calls, which is less than moving the work to another thread.
        if let Some(cached) = self
            .store
            .get_cached(query.pattern())
            .map_err(into_provider_error)?
        {
            return Ok(cached);
        }
        let get = |limit| {
            let (store, pattern) = (Arc::clone(&self.store), query.pattern().clone());
            blocking(move || {
                store
                    .get_up_to(limit, &pattern)
                    .map_err(into_provider_error)
            })
        };
        match get(UNRESERVED_LEN).await? {
            Ok(found) => Ok(found),
            Err(bytes) => {
                // A value is in memory twice: encrypted and decrypted, then decrypted and encoded.
                query.reserve(2 * bytes).await;
                // The response may have grown since; the difference is not reserved.
                let found = get(MAX_RESPONSE_LEN).await?;
                Ok(found.expect("a longer response is an error"))
            }
        }
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        let (store, pattern) = (Arc::clone(&self.store), query.pattern().clone());
        let entries = blocking(move || store.list(&pattern).map_err(into_provider_error)).await?;
        let listed = entries.into_iter().map(|entry| {
            let mut listed = Listed::new(entry.id);
            listed.version = entry.current.number.to_string();
            listed.created_at = entry.current.created_at;
            listed.metadata = entry.current.metadata;
            listed
        });
        Ok(listed.collect())
    }

    async fn set_secret(&self, target: &Target, version: NewVersion) -> Result<String, WriteError> {
        let stored = self.write(target, move |store, id| {
            store.set_expecting(id, &version.value, &version.metadata, &version.expected)
        });
        Ok(stored.await?.number.to_string())
    }

    async fn remove_secret(
        &self,
        target: &Target,
        removal: Removal,
    ) -> Result<Removed, WriteError> {
        let version = removal.version.as_deref().map(number).transpose()?;
        let removed = self.write(target, move |store, id| {
            match store.remove_expecting(id, version, &removal.expected)? {
                0 => Err(StoreError::NotFound {
                    id: id.clone(),
                    version,
                }),
                count => Ok(count),
            }
        });
        let count = u32::try_from(removed.await?).unwrap_or(u32::MAX);
        Ok(Removed::new(count, true))
    }

    async fn list_versions(&self, target: &Target) -> Result<Vec<StoredVersion>, WriteError> {
        let versions = self.write(target, |store, id| store.history(id)).await?;
        Ok(versions.into_iter().map(StoredVersion::from).collect())
    }

    async fn restore_version(&self, target: &Target, version: &str) -> Result<String, WriteError> {
        let version = number(version)?;
        let restored = self.write(target, move |store, id| store.restore(id, version));
        Ok(restored.await?.number.to_string())
    }
}

impl FileProvider {
    /// Runs an operation on the store to its end, also if the caller leaves.
    async fn write<T: Send + 'static>(
        &self,
        target: &Target,
        operation: impl FnOnce(&Store, &Id) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let (store, id) = (Arc::clone(&self.store), target.id().clone());
        let result = blocking(move || Ok::<_, ProviderError>(operation(&store, &id))).await?;
        result.map_err(|error| match error {
            StoreError::UnexpectedVersion { current, .. } => WriteError::UnexpectedVersion {
                current: current.map(|version| version.to_string()),
            },
            error => into_provider_error(error).into(),
        })
    }
}

/// Parses a version. Another text names no version of this store.
fn number(version: &str) -> Result<u64, WriteError> {
    let number = version.parse();
    number.map_err(|_| ProviderError::not_found("the store has no version of this name").into())
}

/// Converts a [`StoreError`]. `Locked` is the kind of errors that the user has to resolve.
fn into_provider_error(error: StoreError) -> ProviderError {
    let kind = match &error {
        error if error.is_locked() => ErrorKind::Locked,
        StoreError::Io { .. } | StoreError::Locked { .. } => ErrorKind::Unavailable,
        StoreError::NoLocation | StoreError::RelativePath { .. } => ErrorKind::Fatal,
        StoreError::NotFound { .. } => ErrorKind::NotFound,
        StoreError::ValueTooLarge { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    };
    let remedy = match &error {
        // A variable of the user's shell does not reach the plugin of a running daemon.
        StoreError::IdentityProtected { .. } => Some(format!(
            "give {PASSPHRASE_FILE_VARIABLE}, the path of a file with the passphrase, in `env` of [plugins.file], and run \
             `keyway plugins reload`"
        )),
        error => error.remedy(),
    };
    let failure = ProviderError::internal(with_causes(&error)).with_kind(kind);
    match remedy {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// Runs the plugin process on the store that the environment names, and returns its exit status. Call it from a plain
/// `main`, before any thread is started.
///
/// `keyway` calls this when it starts itself as the built-in plugin.
pub fn run() -> ExitCode {
    Plugin::new("file").run_with(|| {
        let config = StoreConfig::from_env(variable).map_err(into_provider_error)?;
        Ok(FileProvider::new(Store::new(config)))
    })
}

/// Looks up a variable. A runtime may pass only the launch variable, so the home directory falls back to the user
/// database.
fn variable(name: &str) -> Option<OsString> {
    let home = || (name == "HOME").then(env::home_dir).flatten();
    env::var_os(name).or_else(|| home().map(OsString::from))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use keyway_plugin_sdk::testing::{TestDaemon, block_on};

    use super::*;
    use crate::Expected;

    #[test]
    fn a_stored_secret_is_in_the_next_response() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Store::new(StoreConfig::new(dir.path().join("store")));
        block_on(async {
            let provider = FileProvider::new(Store::new(StoreConfig::new(writer.dir())));
            let daemon = TestDaemon::start(provider).await.unwrap();
            assert_eq!(daemon.registration().pattern.as_deref(), Some("**"));
            let description = daemon.registration().description.clone().unwrap();
            assert!(description.shareable && !description.interactive);
            assert_eq!(description.lists, Some(true));
            let missing = daemon.get("db/password").await.unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            for round in 1..=20 {
                let value = format!("value-{round}");
                writer
                    .set(&"db/password".parse().unwrap(), &value.as_str().into())
                    .unwrap();
                for _ in 0..2 {
                    let found = daemon.get("db/password").await.unwrap();
                    assert_eq!(found[0].value.expose(), value.as_bytes());
                    assert_eq!(found[0].version, round.to_string());
                    assert!(found[0].created_at.is_some());
                }
            }
            let listed = daemon.list("db/*").await.unwrap();
            assert_eq!(
                (listed[0].id.as_str(), listed[0].version.as_str()),
                ("db/password", "20")
            );
            daemon.stop().await;
        });
    }

    #[test]
    fn a_written_secret_is_read_listed_removed_and_restored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            let description = daemon.registration().description.clone().unwrap();
            assert!(description.stores);
            let call = || daemon.call("web/token");
            let set = async |value: &str, expected| call().set(value, expected).await;
            assert_eq!(set("v1", Expected::Absent).await.unwrap(), "1");
            let exists = set("v2", Expected::Absent).await.unwrap_err();
            assert!(
                matches!(&exists, WriteError::UnexpectedVersion { current: Some(version) } if version == "1"),
                "{exists}"
            );
            let first = Expected::Version("1".to_owned());
            assert_eq!(set("v2", first).await.unwrap(), "2");
            assert_eq!(daemon.get("**").await.unwrap()[0].value.expose(), b"v2");

            let removed = call().remove(Removal::default()).await.unwrap();
            assert_eq!(removed, Removed::new(2, true));
            assert_eq!(
                daemon.get("web/token").await.unwrap_err().kind(),
                ErrorKind::NotFound
            );
            let versions = call().versions().await.unwrap();
            assert_eq!(versions[0].version, "2");
            assert!(versions.iter().all(|version| version.removed_at.is_some()));
            assert_eq!(call().restore("1").await.unwrap(), "3");
            assert_eq!(daemon.get("**").await.unwrap()[0].value.expose(), b"v1");
            daemon.stop().await;
        });
    }

    #[test]
    fn a_write_to_an_absent_secret_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            daemon.call("a").set("v1", Expected::Any).await.unwrap();
            let failures = [
                daemon
                    .call("b")
                    .remove(Removal::default())
                    .await
                    .unwrap_err(),
                daemon.call("b").versions().await.unwrap_err(),
                daemon.call("a").restore("2").await.unwrap_err(),
                daemon.call("a").restore("latest").await.unwrap_err(),
            ];
            for failure in failures {
                let WriteError::Failed(error) = failure else {
                    panic!("{failure}");
                };
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            }
            daemon.stop().await;
        });
    }

    #[test]
    fn a_value_of_the_largest_size_is_returned_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        let value: Vec<u8> = (0..crate::MAX_VALUE_LEN).map(|n| (n % 251) as u8).collect();
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            let stored = daemon.call("big").set(value.clone(), Expected::Any);
            stored.await.unwrap();
            let found = daemon.get("big").await.unwrap();
            assert!(
                found[0].value.expose() == value,
                "the returned value differs"
            );
            daemon.stop().await;
        });
    }

    /// Returns the failure of a query for `**`, after `change` to a store with one secret.
    fn failure(change: impl FnOnce(&Store)) -> ProviderError {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        let id = "web/token".parse().unwrap();
        store.set(&id, &"not-a-real-token".into()).unwrap();
        change(&store);
        let store = Store::new(StoreConfig::new(store.dir()));
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            let error = daemon.get("**").await.unwrap_err();
            daemon.stop().await;
            error
        })
    }

    #[test]
    fn a_protected_identity_is_locked_with_a_remedy_for_the_daemon() {
        let error = failure(|store| {
            let path = store.dir().join("identity.txt");
            std::fs::write(&path, "age-encryption.org/v1\n").unwrap();
        });
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(
            error
                .message()
                .ends_with("identity.txt cannot be used: it is protected by a passphrase"),
            "{error}"
        );
        assert_eq!(
            error.remedy(),
            Some(
                "give KEYWAY_FILE_PASSPHRASE_FILE, the path of a file with the passphrase, in `env` of [plugins.file], and run \
                 `keyway plugins reload`"
            )
        );
    }

    #[test]
    fn a_wrong_passphrase_is_locked_and_names_its_file() {
        let error = into_provider_error(StoreError::WrongPassphrase {
            path: "/s/identity.age".into(),
            passphrase: Some("/run/passphrase".into()),
        });
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(
            error.message(),
            "the identity file /s/identity.age cannot be used: the passphrase in /run/passphrase does not open it"
        );
        assert_eq!(
            error.remedy(),
            Some("put the right passphrase on the first line of that file")
        );
    }

    #[test]
    fn a_missing_identity_is_locked_and_advises_a_backup() {
        let error = failure(|store| {
            std::fs::remove_file(store.dir().join("identity.txt")).unwrap();
        });
        assert_eq!(error.kind(), ErrorKind::Locked);
        let message = error.message();
        assert!(
            message.contains("holds secrets, but its identity file ")
                && message.ends_with(" is missing"),
            "{message}"
        );
        assert_eq!(error.remedy(), Some("restore that file from a backup"));
    }

    #[test]
    fn a_damaged_store_is_an_internal_failure() {
        let error = failure(|store| {
            std::fs::write(store.dir().join("index.age"), "not age").unwrap();
        });
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(
            error
                .message()
                .ends_with("index.age is damaged: it does not start like an age file"),
            "{error}"
        );
        assert_eq!(error.remedy(), Some("restore it from a backup"));
    }

    #[test]
    fn an_exposed_store_is_an_error_and_not_an_empty_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        store
            .set(&"a".parse().unwrap(), &"canary-value".into())
            .unwrap();
        let identity = store.dir().join("identity.txt");
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o644)).unwrap();
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            let error = daemon.get("**").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            assert_eq!(
                error.message(),
                format!(
                    "{} has mode 0644, so that other users can read it",
                    identity.display()
                )
            );
            let remedy = format!("run `chmod 600 {}`", identity.display());
            assert_eq!(error.remedy(), Some(remedy.as_str()));
            daemon.stop().await;
        });
    }
}
