//! Serving the store.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use keyway_plugin_sdk::{
    Envelope, ErrorKind, Listed, Pattern, Plugin, ProviderError, Query, SecretsProvider, blocking,
};

use crate::{MAX_ANSWER_LEN, Store, StoreConfig, StoreError};

/// Answers up to this length need no reservation.
const SMALL_ANSWER: u64 = 64 * 1024;

/// Serves a [`Store`]: every id is in its realm, and it can list.
#[derive(Debug)]
pub struct FileProvider {
    store: Arc<Store>,
}

impl FileProvider {
    /// Serves this store. Touches nothing until the first question.
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

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        // What was decrypted lately costs two system calls, which is less than handing the work to another thread.
        if let Some(cached) = self.store.get_cached(query.pattern()).map_err(explain)? {
            return Ok(cached);
        }
        let get = |limit| {
            let (store, pattern) = (Arc::clone(&self.store), query.pattern().clone());
            blocking(move || store.get_up_to(limit, &pattern).map_err(explain))
        };
        match get(SMALL_ANSWER).await? {
            Ok(found) => Ok(found),
            Err(bytes) => {
                // A value is in memory twice: encrypted and decrypted, then decrypted and encoded.
                query.reserve(2 * bytes).await;
                // Should it have grown meanwhile, so little counts for more.
                let found = get(MAX_ANSWER_LEN).await?;
                Ok(found.expect("what is longer is an error"))
            }
        }
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        let (store, pattern) = (Arc::clone(&self.store), query.pattern().clone());
        let entries = blocking(move || store.list(&pattern).map_err(explain)).await?;
        let listed = entries.into_iter().map(|entry| {
            let mut listed = Listed::new(entry.id);
            listed.version = entry.current.number.to_string();
            listed.created_at = entry.current.created_at;
            listed
        });
        Ok(listed.collect())
    }
}

/// The message is the store's; the kind tells whether a person has to do something first.
fn explain(error: StoreError) -> ProviderError {
    let kind = match &error {
        StoreError::AnswerTooLarge { .. } => ErrorKind::ResourceExhausted,
        StoreError::Exposed { .. }
        | StoreError::ForeignOwner { .. }
        | StoreError::Identity { .. }
        | StoreError::IdentityMissing { .. }
        | StoreError::Passphrase { .. } => ErrorKind::Locked,
        StoreError::Io { .. } | StoreError::Locked { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    ProviderError::from(error).with_kind(kind)
}

/// Runs the plugin process on the store that the environment names. Call it from a plain `main`, before anything
/// starts a thread.
///
/// `keyway` calls this when it starts itself as the plugin that it bundles.
pub fn run() -> ExitCode {
    Plugin::new("file").run_with(|| {
        let config = StoreConfig::from_env(variable)?;
        Ok(FileProvider::new(Store::new(config)))
    })
}

/// A runtime may hand its plugins nothing but the launch variable; the user's home is then asked of the system.
fn variable(name: &str) -> Option<OsString> {
    let home = || (name == "HOME").then(env::home_dir).flatten();
    env::var_os(name).or_else(|| home().map(OsString::from))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use keyway_plugin_sdk::testing::{TestDaemon, block_on};

    use super::*;

    #[test]
    fn a_stored_secret_is_in_the_very_next_answer() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Store::new(StoreConfig::new(dir.path().join("store")));
        block_on(async {
            let provider = FileProvider::new(Store::new(StoreConfig::new(writer.dir())));
            let daemon = TestDaemon::start(provider).await.unwrap();
            assert_eq!(daemon.registration().pattern.as_deref(), Some("**"));
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
    fn a_value_of_the_largest_size_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig::new(dir.path().join("store")));
        let value: Vec<u8> = (0..crate::MAX_VALUE_LEN).map(|n| (n % 251) as u8).collect();
        store
            .set(&"big".parse().unwrap(), &value.clone().into())
            .unwrap();
        block_on(async {
            let daemon = TestDaemon::start(FileProvider::new(store)).await.unwrap();
            let found = daemon.get("big").await.unwrap();
            assert!(
                found[0].value.expose() == value,
                "the value changed on its way"
            );
            daemon.stop().await;
        });
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
                    "{0} has mode 0644, so that other users can read it; run `chmod 600 {0}`",
                    identity.display()
                )
            );
            daemon.stop().await;
        });
    }
}
