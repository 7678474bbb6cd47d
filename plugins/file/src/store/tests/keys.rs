//! New keys, and the passphrase of the identity file.

use std::fs;

use super::*;
use crate::Protection;
use crate::store::steps::{self, Step};

fn secret(text: &str) -> SecretValue {
    SecretValue::from(text)
}

fn protected_by(fixture: &Fixture, passphrase: &str) -> Store {
    let config = fixture.config().passphrase(secret(passphrase));
    Store::new(config.work_factor(2))
}

fn plain(fixture: &Fixture) -> Store {
    Store::new(fixture.config().work_factor(2))
}

#[test]
fn a_new_key_opens_every_version_and_the_old_one_opens_nothing() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    set(&store, "a", "2");
    set(&store, "gone", "3");
    store.remove(&id("gone")).unwrap();
    let kept = fixture.root.path().join("old-identity");
    let before = fs::read(fixture.path("identity.txt")).unwrap();
    assert_eq!(store.rekey(Some(&kept)).unwrap(), 3);
    assert_eq!(fs::read(&kept).unwrap(), before);
    assert_ne!(fs::read(fixture.path("identity.txt")).unwrap(), before);
    let reader = fixture.store();
    assert_eq!(get(&reader, "**").unwrap(), pairs(&[("a", "2")]));
    let earlier = reader.get_version(&id("a"), 1).unwrap().unwrap();
    assert_eq!(earlier.expose(), b"1");
    assert_eq!(reader.restore(&id("gone"), 1).unwrap().number, 2);

    fs::copy(&kept, fixture.path("identity.txt")).unwrap();
    let error = get(&fixture.store(), "**").unwrap_err();
    assert!(matches!(error, StoreError::OtherIdentity { .. }), "{error}");

    let error = store.rekey(Some(&kept)).unwrap_err();
    assert!(!matches!(error, StoreError::NoStore { .. }), "{error}");
}

#[test]
fn a_file_for_the_old_identity_is_never_overwritten_and_nothing_is_changed() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let before = fs::read(fixture.path("identity.txt")).unwrap();
    let kept = fixture.root.path().join("taken");
    fs::write(&kept, "mine").unwrap();
    let error = fixture.store().rekey(Some(&kept)).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&kept).unwrap(), b"mine");
    assert_eq!(fs::read(fixture.path("identity.txt")).unwrap(), before);
}

#[test]
fn a_new_key_has_the_passphrase_of_the_old_one() {
    let fixture = Fixture::new();
    let store = protected_by(&fixture, "dummy");
    set(&store, "a", "1");
    store.rekey(None).unwrap();
    assert_eq!(store.protection().unwrap(), Protection::Passphrase);
    let reader = protected_by(&fixture, "dummy");
    assert_eq!(get(&reader, "a").unwrap(), pairs(&[("a", "1")]));
}

/// Without a second attempt the reader would report a damaged index: the identity that it reads is newer than the index that it opened.
#[test]
fn a_reader_that_opened_the_index_before_a_rekey_reads_the_new_one() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let config = fixture.config();
    let mut is_first = true;
    steps::observe(move |step| {
        if step == Step::IndexOpened && std::mem::take(&mut is_first) {
            let config = config.clone();
            let rekey = std::thread::spawn(move || Store::new(config).rekey(None).unwrap());
            assert_eq!(rekey.join().unwrap(), 1);
        }
    });
    assert_eq!(get(&fixture.store(), "a").unwrap(), pairs(&[("a", "1")]));
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_the_key_stays() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let comment = fs::read_to_string(fixture.path("identity.txt")).unwrap() + "# the key of ann\n";
    fs::write(fixture.path("identity.txt"), &comment).unwrap();

    plain(&fixture)
        .set_passphrase(Some(&secret("one")))
        .unwrap();
    assert!(!fixture.path("identity.txt").exists());
    let error = get(&fixture.store(), "a").unwrap_err();
    assert!(matches!(error, StoreError::IdentityProtected { .. }) && error.is_locked());

    let first = protected_by(&fixture, "one");
    first.set_passphrase(Some(&secret("two"))).unwrap();
    let error = get(&protected_by(&fixture, "one"), "a").unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::WrongPassphrase {
                passphrase: None,
                ..
            }
        ) && error.is_locked(),
        "{error}"
    );
    let error = protected_by(&fixture, "one")
        .set_passphrase(None)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::WrongPassphrase { .. }),
        "{error}"
    );

    protected_by(&fixture, "two").set_passphrase(None).unwrap();
    assert!(!fixture.path("identity.age").exists());
    assert_eq!(
        fs::read_to_string(fixture.path("identity.txt")).unwrap(),
        comment
    );
    assert_eq!(get(&fixture.store(), "a").unwrap(), pairs(&[("a", "1")]));
    let mode =
        std::os::unix::fs::MetadataExt::mode(&fs::metadata(fixture.path("identity.txt")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_passphrase_of_an_identity_elsewhere_is_set_in_its_place() {
    let fixture = Fixture::new();
    let (key, link) = (
        fixture.root.path().join("stick"),
        fixture.root.path().join("link"),
    );
    let config = fixture.config().identity(&key).work_factor(2);
    set(&Store::new(config.clone()), "a", "1");
    std::os::unix::fs::symlink(&key, &link).unwrap();
    let store = Store::new(config.clone().identity(&link));
    store.set_passphrase(Some(&secret("one"))).unwrap();
    assert!(link.is_symlink());
    assert_eq!(store.protection().unwrap(), Protection::Passphrase);
    let reader = Store::new(config.passphrase(secret("one")));
    assert_eq!(get(&reader, "a").unwrap(), pairs(&[("a", "1")]));
}

#[test]
fn a_new_store_may_have_a_passphrase_from_the_beginning() {
    let fixture = Fixture::new();
    assert_eq!(
        plain(&fixture).protection().unwrap(),
        Protection::NoIdentity
    );
    plain(&fixture)
        .set_passphrase(Some(&secret("one")))
        .unwrap();
    set(&protected_by(&fixture, "one"), "a", "1");
    assert!(!fixture.path("identity.txt").exists());
    let error = protected_by(&fixture, "one").set_passphrase(Some(&secret("")));
    assert!(matches!(error, Err(StoreError::UnusablePassphrase)));
}

#[test]
fn there_is_nothing_to_rekey_or_to_unprotect_without_a_store() {
    let fixture = Fixture::new();
    let error = fixture.store().rekey(None).unwrap_err();
    assert!(matches!(error, StoreError::NoStore { .. }), "{error}");
    let error = fixture.store().set_passphrase(None).unwrap_err();
    assert!(matches!(error, StoreError::NoStore { .. }), "{error}");
    assert!(!fixture.dir().exists());
}
