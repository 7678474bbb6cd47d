//! Providers that store secrets for clients.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use keyway_plugin_sdk::testing::{TestDaemon, block_on};
use keyway_plugin_sdk::{
    Description, Envelope, ErrorKind, Expected, NewVersion, Pattern, ProviderError, Query, Removal,
    Removed, SecretsProvider, StoredVersion, Target, WriteError,
};

/// Keeps the last value of each secret below `mem/`, and counts its versions.
#[derive(Default)]
struct Memory {
    secrets: Mutex<BTreeMap<String, (u32, Envelope)>>,
}

impl SecretsProvider for Memory {
    fn pattern(&self) -> Pattern {
        "mem/**".parse().unwrap()
    }

    fn describe(&self) -> Description {
        Description::new().stores(true)
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let secrets = self.secrets.lock().unwrap();
        let envelopes = secrets.values().map(|(_, envelope)| envelope);
        Ok(envelopes
            .filter(|it| query.matches(&it.id))
            .cloned()
            .collect())
    }

    async fn set_secret(&self, target: &Target, version: NewVersion) -> Result<String, WriteError> {
        assert!(target.time_left() <= Duration::from_secs(10));
        if target.id().as_str() == "mem/slow" {
            std::future::pending::<()>().await;
        }
        if target.id().as_str() == "mem/prompt" && !target.may_ask_user() {
            return Err(ProviderError::needs_user("the store is closed").into());
        }
        let mut secrets = self.secrets.lock().unwrap();
        let current = secrets.get(target.id().as_str()).map(|(number, _)| *number);
        let text = current.map(|number| number.to_string());
        WriteError::unexpected(&version.expected, text.as_deref())?;
        let number = current.unwrap_or_default() + 1;
        let mut envelope = Envelope::new(target.id().clone(), version.value);
        envelope.metadata = version.metadata;
        secrets.insert(target.id().to_string(), (number, envelope));
        Ok(number.to_string())
    }

    async fn remove_secret(
        &self,
        target: &Target,
        removal: Removal,
    ) -> Result<Removed, WriteError> {
        if removal.version.is_some() {
            return Err(ProviderError::invalid("this store has one version only").into());
        }
        match self.secrets.lock().unwrap().remove(target.id().as_str()) {
            Some(_) => Ok(Removed::new(1, false)),
            None => Err(ProviderError::not_found("no such secret").into()),
        }
    }

    async fn list_versions(&self, target: &Target) -> Result<Vec<StoredVersion>, WriteError> {
        let secrets = self.secrets.lock().unwrap();
        let current = secrets.get(target.id().as_str());
        Ok(current
            .map(|(number, _)| StoredVersion::new(number.to_string()))
            .into_iter()
            .collect())
    }

    async fn restore_version(&self, _: &Target, _: &str) -> Result<String, WriteError> {
        Err(ProviderError::denied("this store restores nothing").into())
    }
}

fn kind(error: WriteError) -> ErrorKind {
    match error {
        WriteError::Failed(error) => error.kind(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_provider_that_stores_declares_it_and_is_sent_the_writes_of_clients() {
    block_on(async {
        let daemon = TestDaemon::start(Memory::default()).await.unwrap();
        assert!(daemon.registration().description.as_ref().unwrap().stores);
        let call = || daemon.call("mem/a");
        let metadata = BTreeMap::from([("owner".to_owned(), "ann".to_owned())]);
        let stored = call().set_with_metadata("dummy-1", metadata.clone(), Expected::Absent);
        assert_eq!(stored.await.unwrap(), "1");
        let found = daemon.get("mem/a").await.unwrap();
        assert_eq!(
            (found[0].value.expose(), &found[0].metadata),
            (&b"dummy-1"[..], &metadata)
        );
        let other = Expected::Version("4".to_owned());
        let refused = call().set("dummy-2", other).await.unwrap_err();
        assert!(
            matches!(&refused, WriteError::UnexpectedVersion { current: Some(now) } if now == "1"),
            "{refused}"
        );
        assert_eq!(call().versions().await.unwrap(), [StoredVersion::new("1")]);
        assert_eq!(
            kind(call().restore("1").await.unwrap_err()),
            ErrorKind::Denied
        );
        assert_eq!(
            call().remove(Removal::default()).await.unwrap(),
            Removed::new(1, false)
        );
        let gone = call().remove(Removal::default()).await.unwrap_err();
        assert_eq!(kind(gone), ErrorKind::NotFound);
        assert_eq!(
            kind(call().versions().await.unwrap_err()),
            ErrorKind::NotFound
        );
        let absent = call()
            .set("dummy-3", Expected::Version("1".to_owned()))
            .await
            .unwrap_err();
        assert!(
            matches!(absent, WriteError::UnexpectedVersion { current: None }),
            "{absent}"
        );
        daemon.stop().await;
    });
}

#[test]
fn a_write_outside_the_realm_or_beyond_the_limits_does_not_reach_the_provider() {
    block_on(async {
        let daemon = TestDaemon::start(Memory::default()).await.unwrap();
        for (id, value, metadata) in [
            ("other/a", "dummy".to_owned(), BTreeMap::new()),
            ("mem/*", "dummy".to_owned(), BTreeMap::new()),
            ("", "dummy".to_owned(), BTreeMap::new()),
            ("mem/a", "v".repeat(8 * 1024 * 1024 + 1), BTreeMap::new()),
            (
                "mem/a",
                "dummy".to_owned(),
                (0..65).map(|n| (n.to_string(), String::new())).collect(),
            ),
        ] {
            let call = daemon
                .call(id)
                .set_with_metadata(value, metadata, Expected::Any);
            assert_eq!(kind(call.await.unwrap_err()), ErrorKind::Invalid, "{id}");
        }
        assert_eq!(
            kind(daemon.call("mem/a").restore("").await.unwrap_err()),
            ErrorKind::Invalid
        );
        assert_eq!(
            daemon.get("mem/**").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        daemon.stop().await;
    });
}

#[test]
fn the_deadline_and_the_permission_to_prompt_reach_a_write() {
    block_on(async {
        let daemon = TestDaemon::start(Memory::default()).await.unwrap();
        let slow = daemon.call("mem/slow").within(Duration::from_millis(50));
        let late = slow.set("dummy", Expected::Any).await.unwrap_err();
        assert_eq!(kind(late), ErrorKind::TimedOut);
        let silent = daemon.call("mem/prompt").may_ask_user(false);
        let refused = silent.set("dummy", Expected::Any).await.unwrap_err();
        assert_eq!(kind(refused), ErrorKind::NeedsUser);
        daemon
            .call("mem/prompt")
            .set("dummy", Expected::Any)
            .await
            .unwrap();
        daemon.stop().await;
    });
}

#[test]
fn a_provider_that_does_not_store_serves_no_writes() {
    struct Reader;

    impl SecretsProvider for Reader {
        fn pattern(&self) -> Pattern {
            Pattern::everything()
        }

        async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> {
            Ok(Vec::new())
        }
    }

    block_on(async {
        let daemon = TestDaemon::start(Reader).await.unwrap();
        assert!(!daemon.registration().description.as_ref().unwrap().stores);
        let refused = daemon
            .call("a")
            .set("dummy", Expected::Any)
            .await
            .unwrap_err();
        assert_eq!(kind(refused), ErrorKind::Internal);
        daemon.stop().await;
    });
}
