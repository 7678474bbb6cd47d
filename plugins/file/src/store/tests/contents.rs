//! Stored values are returned unchanged, by id, pattern and version.

use super::*;
use crate::store::index::{Index, Record};
use crate::{MAX_RESPONSE_LEN, MAX_VALUE_LEN};

#[test]
fn reading_and_removing_do_not_create_a_store() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert_eq!(get(&store, "**").unwrap(), []);
    assert_eq!(store.list(&"**".parse().unwrap()).unwrap(), []);
    assert_eq!(store.versions(&id("a")).unwrap(), []);
    assert!(!store.remove(&id("a")).unwrap());
    assert!(!fixture.dir().exists());
}

#[test]
fn another_handle_sees_a_write_at_once() {
    let fixture = Fixture::new();
    let (writer, reader) = (fixture.store(), fixture.store());
    assert_eq!(get(&reader, "**").unwrap(), []);
    for round in 0..50 {
        let value = format!("value-{round}");
        set(&writer, "db/password", &value);
        assert_eq!(
            get(&reader, "db/password").unwrap(),
            pairs(&[("db/password", &value)])
        );
    }
    assert!(writer.remove(&id("db/password")).unwrap());
    assert_eq!(get(&reader, "**").unwrap(), []);
}

#[test]
fn patterns_filter_and_results_are_ordered_by_id() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for name in ["db/b", "web/token", "db/a", "db/deep/c"] {
        set(&store, name, name);
    }
    assert_eq!(
        get(&store, "db/*").unwrap(),
        pairs(&[("db/a", "db/a"), ("db/b", "db/b")])
    );
    assert_eq!(
        get(&store, "web/token").unwrap(),
        pairs(&[("web/token", "web/token")])
    );
    assert_eq!(get(&store, "web/other").unwrap(), []);
    assert_eq!(get(&store, "**").unwrap().len(), 4);
    let listed = store.list(&"db/**".parse().unwrap()).unwrap();
    let ids: Vec<_> = listed.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["db/a", "db/b", "db/deep/c"]);
}

#[test]
fn binary_and_large_values_are_returned_byte_for_byte() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for len in [0, 1, 255, 65_535, 65_536, 65_537, MAX_VALUE_LEN] {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 31 + n / 256) as u8).collect();
        let value = SecretValue::new(bytes);
        store.set(&id("blob"), &value).unwrap();
        let envelopes = fixture.store().get(&"blob".parse().unwrap()).unwrap();
        assert!(envelopes[0].value == value, "{len} bytes differ");
    }
    let too_large = SecretValue::new(vec![0; MAX_VALUE_LEN + 1]);
    let error = store.set(&id("blob"), &too_large).unwrap_err();
    assert_eq!(
        message(&error),
        "the value of `blob` has 8388609 bytes, more than the 8388608 that the store accepts; store a smaller value"
    );
}

#[test]
fn a_response_over_the_limit_is_refused_before_decryption() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "small", "1");
    let fitting = usize::try_from(MAX_RESPONSE_LEN).unwrap() / MAX_VALUE_LEN;
    let mut index = Index::default();
    for n in 0..=fitting {
        let record = Record::new(1, MAX_VALUE_LEN, format!("{n:032x}"), String::new());
        index.push(&id(&format!("big/{n}")), record);
    }
    overwrite_index(&fixture, &index.to_text());
    let error = store.get(&"big/*".parse().unwrap()).unwrap_err();
    assert_eq!(
        message(&error),
        "the query matches 2 secrets of 16777728 bytes together, more than the 15728640 of one response; \
        query fewer of them"
    );
    let listed = store.list(&"big/*".parse().unwrap()).unwrap();
    assert_eq!(listed.len(), fitting + 1);
}

#[test]
fn the_last_versions_are_kept_and_older_files_are_removed() {
    let fixture = Fixture::new();
    let store = Store::new(fixture.config().versions_kept(3));
    for n in 1..=5 {
        set(&store, "token", &format!("v{n}"));
    }
    let versions = store.versions(&id("token")).unwrap();
    assert_eq!(
        versions
            .iter()
            .map(|version| version.number)
            .collect::<Vec<_>>(),
        [3, 4, 5]
    );
    assert!(
        versions
            .iter()
            .all(|version| version.created_at.is_some() && version.len == 2)
    );
    assert_eq!(fixture.value_files().len(), 3);
    let old = store.get_version(&id("token"), 3).unwrap().unwrap();
    assert_eq!(old.expose(), b"v3");
    assert_eq!(store.get_version(&id("token"), 2).unwrap(), None);
    assert_eq!(
        store.get(&"token".parse().unwrap()).unwrap()[0].version,
        "5"
    );
}

#[test]
fn the_cache_is_invalid_after_a_write() {
    let fixture = Fixture::new();
    let (store, writer) = (fixture.store(), fixture.store());
    let pattern = "a/*".parse().unwrap();
    set(&writer, "a/x", "1");
    set(&writer, "a/y", "2");
    assert!(
        store.get_cached(&pattern).unwrap().is_none(),
        "nothing was read yet"
    );
    let read = store.get(&pattern).unwrap();
    assert_eq!(store.get_cached(&pattern).unwrap().unwrap(), read);
    set(&writer, "a/x", "3");
    assert!(
        store.get_cached(&pattern).unwrap().is_none(),
        "the index changed"
    );
    assert_eq!(
        get(&store, "a/*").unwrap(),
        pairs(&[("a/x", "3"), ("a/y", "2")])
    );
}

#[test]
fn no_file_or_name_on_the_disk_holds_a_value_or_an_id() {
    let fixture = Fixture::new();
    set(&fixture.store(), "canary-id", "canary-value");
    let mut files = fixture.value_files();
    files.extend(["index.age", "store.lock", "identity.txt"].map(|name| fixture.path(name)));
    for file in files {
        assert!(!file.to_string_lossy().contains("canary"));
        let content = std::fs::read(&file).unwrap();
        assert!(
            !content.windows(6).any(|window| window == b"canary"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn debug_prints_no_value() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "canary-value");
    assert_eq!(get(&store, "a").unwrap().len(), 1);
    assert!(!format!("{store:?}").contains("canary"));
}
