//! Versions: those that a removal keeps, their restoration, and writes that are refused.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::Expected;
use crate::store::index::Index;

/// Returns the kept versions as numbers, newest first; removed ones are negative.
fn history(store: &Store, name: &str) -> Vec<i64> {
    let versions = store.history(&id(name)).unwrap();
    let number = |version: &crate::Version| {
        let number = i64::try_from(version.number).unwrap();
        if version.removed_at.is_some() {
            -number
        } else {
            number
        }
    };
    versions.iter().map(number).collect()
}

#[test]
fn a_removed_secret_is_gone_for_queries_and_can_be_restored() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for value in ["v1", "v2"] {
        set(&store, "token", value);
    }
    set(&store, "other", "o");
    assert!(store.remove(&id("token")).unwrap());
    assert_eq!(get(&store, "**").unwrap(), pairs(&[("other", "o")]));
    assert_eq!(store.list(&"**".parse().unwrap()).unwrap().len(), 1);
    assert_eq!(store.versions(&id("token")).unwrap(), []);
    assert_eq!(history(&store, "token"), [-2, -1]);
    assert!(
        !store.remove(&id("token")).unwrap(),
        "there is none any more"
    );

    let restored = fixture.store().restore(&id("token"), 2).unwrap();
    assert_eq!((restored.number, restored.removed_at), (3, None));
    assert_eq!(get(&store, "token").unwrap(), pairs(&[("token", "v2")]));
    assert_eq!(history(&store, "token"), [3, -2, -1]);
}

#[test]
fn a_secret_that_is_set_after_its_removal_does_not_use_a_number_again() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "token", "v1");
    store.remove(&id("token")).unwrap();
    assert_eq!(store.set(&id("token"), &"v2".into()).unwrap().number, 2);
    let removed = store.get_version(&id("token"), 1).unwrap().unwrap();
    assert_eq!(removed.expose(), b"v1");
}

#[test]
fn one_version_can_be_removed_and_the_one_before_becomes_current() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for value in ["v1", "v2", "v3"] {
        set(&store, "token", value);
    }
    let remove = |version| store.remove_expecting(&id("token"), Some(version), &Expected::Any);
    assert_eq!(remove(3).unwrap(), 1);
    assert_eq!(get(&store, "token").unwrap(), pairs(&[("token", "v2")]));
    assert_eq!(remove(3).unwrap(), 0, "removed already");
    assert_eq!(remove(1).unwrap(), 1);
    assert_eq!(history(&store, "token"), [-3, 2, -1]);
    assert_eq!(remove(2).unwrap(), 1);
    assert_eq!(get(&store, "token").unwrap(), []);
}

#[test]
fn removed_versions_are_the_first_to_exceed_the_number_of_kept_versions() {
    let fixture = Fixture::new();
    let store = Store::new(fixture.config().versions_kept(3));
    for value in ["v1", "v2", "v3"] {
        set(&store, "token", value);
    }
    store.remove(&id("token")).unwrap();
    set(&store, "token", "v4");
    assert_eq!(history(&store, "token"), [4, -3, -2]);
    set(&store, "token", "v5");
    set(&store, "token", "v6");
    assert_eq!(history(&store, "token"), [6, 5, 4]);
    assert_eq!(fixture.value_files().len(), 3);
}

#[test]
fn a_write_drops_versions_that_were_removed_long_ago() {
    let fixture = Fixture::new();
    set(&fixture.store(), "token", "v1");
    fixture.store().remove(&id("token")).unwrap();
    set(&fixture.store(), "other", "o");
    assert_eq!(history(&fixture.store(), "token"), [-1]);
    let store = Store::new(fixture.config().removed_kept_for(Duration::ZERO));
    set(&store, "other", "p");
    assert_eq!(history(&store, "token").len(), 0);
    assert_eq!(fixture.value_files().len(), 2);
    let error = store.restore(&id("token"), 1).unwrap_err();
    assert_eq!(
        message(&error),
        "there is no version 1 of `token`; run `keyway versions token` to see what there is"
    );
}

#[test]
fn purging_deletes_the_files_of_removed_versions_only() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for value in ["v1", "v2", "v3"] {
        set(&store, "token", value);
    }
    store
        .remove_expecting(&id("token"), Some(1), &Expected::Any)
        .unwrap();
    store
        .remove_expecting(&id("token"), Some(2), &Expected::Any)
        .unwrap();
    assert_eq!(store.purge(&id("token"), Some(3)).unwrap(), 0, "in use");
    assert_eq!(store.purge(&id("token"), Some(1)).unwrap(), 1);
    assert_eq!(history(&store, "token"), [3, -2]);
    assert_eq!(store.purge(&id("token"), None).unwrap(), 1);
    assert_eq!(history(&store, "token"), [3]);
    assert_eq!(fixture.value_files().len(), 1);
}

#[test]
fn an_unexpected_version_refuses_the_write_and_changes_nothing() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let write = |expected: &Expected| {
        store.set_expecting(&id("a"), &"new".into(), &BTreeMap::new(), expected)
    };
    let version = |number: u64| Expected::Version(number.to_string());
    let error = write(&version(1)).unwrap_err();
    assert!(
        matches!(error, StoreError::UnexpectedVersion { current: None, .. }),
        "{error}"
    );
    assert_eq!(write(&Expected::Absent).unwrap().number, 1);
    for expected in [Expected::Absent, version(2)] {
        let error = write(&expected).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::UnexpectedVersion {
                    current: Some(1),
                    ..
                }
            ),
            "{error}"
        );
        let error = store
            .remove_expecting(&id("a"), None, &expected)
            .unwrap_err();
        assert!(
            matches!(error, StoreError::UnexpectedVersion { .. }),
            "{error}"
        );
    }
    assert_eq!(history(&store, "a"), [1]);
    assert_eq!(write(&version(1)).unwrap().number, 2);
    assert_eq!(
        store.remove_expecting(&id("a"), None, &version(2)).unwrap(),
        2
    );
}

#[test]
fn attributes_belong_to_a_version_and_return_with_it() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let metadata = BTreeMap::from([("owner".to_owned(), "ann".to_owned())]);
    store
        .set_expecting(&id("a"), &"v1".into(), &metadata, &Expected::Any)
        .unwrap();
    let read = |store: &Store| {
        store.get(&"a".parse().unwrap()).unwrap()[0]
            .metadata
            .clone()
    };
    assert_eq!(read(&fixture.store()), metadata);
    set(&store, "a", "v2");
    assert_eq!(read(&store), BTreeMap::new());
    store.restore(&id("a"), 1).unwrap();
    assert_eq!(read(&store), metadata);
    assert_eq!(store.history(&id("a")).unwrap()[2].metadata, metadata);
}

/// The program before removed versions were kept reads `secrets` alone.
#[test]
fn removed_versions_are_apart_from_those_that_an_older_program_reads() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "v1");
    store.remove(&id("a")).unwrap();
    set(&store, "b", "v1");
    let index = store.load().unwrap().unwrap().index.to_text();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["format"], 1);
    let names = |key: &str| -> Vec<String> {
        let secrets = index[key].as_object().unwrap();
        secrets.keys().cloned().collect()
    };
    assert_eq!(
        (names("secrets"), names("removed")),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
}

#[test]
fn an_index_without_removed_versions_and_attributes_is_read() {
    let file = "0".repeat(32);
    let text = format!(
        r#"{{"format":1,"secrets":{{"a":[{{"version":7,"created_at_ms":1,"len":2,"file":"{file}","sha256":""}}]}}}}"#
    );
    let index = Index::parse("index.age".as_ref(), text.as_bytes()).unwrap();
    assert_eq!(index.next_version(&id("a")), 8);
    assert_eq!(index.next_version(&id("b")), 1);
    assert!(index.removed.is_empty());
}
