//! Keys, passphrases and further recipients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use age::secrecy::ExposeSecret;
use age::x25519;

use super::*;

fn write_private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns a protected store with a low work factor, and its passphrase file.
fn protected(fixture: &Fixture) -> (StoreConfig, PathBuf) {
    let path = fixture.root.path().join("passphrase");
    write_private(&path, "correct horse\n");
    (fixture.config().passphrase_file(&path).work_factor(2), path)
}

#[test]
fn a_passphrase_protects_the_identity() {
    let fixture = Fixture::new();
    let (config, passphrase) = protected(&fixture);
    set(&Store::new(config.clone()), "a", "1");
    assert!(fixture.path("identity.age").exists() && !fixture.path("identity.txt").exists());
    assert_eq!(
        get(&Store::new(config.clone()), "a").unwrap(),
        pairs(&[("a", "1")])
    );

    let error = message(&get(&fixture.store(), "a").unwrap_err());
    assert!(
        error.contains("name the file that holds the passphrase in KEYWAY_FILE_PASSPHRASE_FILE"),
        "{error}"
    );

    write_private(&passphrase, "wrong canary\n");
    let error = get(&Store::new(config.clone()), "a")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(&format!(
            "the passphrase in {} does not open it",
            passphrase.display()
        )),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");

    write_private(&passphrase, "\n");
    let error = get(&Store::new(config.clone()), "a")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("its first line, the passphrase, is empty"),
        "{error}"
    );

    fs::remove_file(&passphrase).unwrap();
    let error = get(&Store::new(config), "a").unwrap_err().to_string();
    assert!(error.ends_with("there is no such file"), "{error}");
}

#[test]
fn a_passphrase_file_that_others_can_read_is_refused() {
    let fixture = Fixture::new();
    let (config, passphrase) = protected(&fixture);
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Store::new(config).set(&id("a"), &"1".into()).unwrap_err();
    assert!(
        matches!(error, StoreError::Exposed { mode: 0o644, .. }),
        "{error}"
    );
    assert!(!fixture.path("identity.age").exists());
}

#[test]
fn a_passphrase_for_an_unprotected_identity_is_an_error() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let (config, _) = protected(&fixture);
    let error = get(&Store::new(config), "a").unwrap_err().to_string();
    assert!(
        error.contains("it is not protected, but a passphrase is configured"),
        "{error}"
    );
}

#[test]
fn the_identity_may_be_outside_of_the_store() {
    let fixture = Fixture::new();
    let elsewhere = fixture.root.path().join("key");
    let config = fixture.config().identity(&elsewhere);
    set(&Store::new(config.clone()), "a", "1");
    assert!(elsewhere.exists() && !fixture.path("identity.txt").exists());
    assert_eq!(get(&Store::new(config), "a").unwrap(), pairs(&[("a", "1")]));
    let error = get(&fixture.store(), "a").unwrap_err();
    assert!(
        matches!(error, StoreError::IdentityMissing { .. }),
        "{error}"
    );
}

#[test]
fn another_key_does_not_decrypt_the_store() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let other = x25519::Identity::generate();
    write_private(
        &fixture.path("identity.txt"),
        other.to_string().expose_secret(),
    );
    let error = get(&fixture.store(), "a").unwrap_err().to_string();
    assert!(
        error.contains("index.age") && error.contains("not encrypted to the store's identity"),
        "{error}"
    );
}

#[test]
fn a_handle_detects_a_replaced_identity() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    assert_eq!(get(&store, "a").unwrap().len(), 1);
    let other = x25519::Identity::generate();
    write_private(
        &fixture.path("identity.txt"),
        other.to_string().expose_secret(),
    );
    assert!(matches!(
        get(&store, "a"),
        Err(StoreError::OtherIdentity { .. })
    ));
}

#[test]
fn further_recipients_can_decrypt_later_writes() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "before", "1");
    let backup = x25519::Identity::generate();
    let text = format!("# the key in the safe\n\n{}\n", backup.to_public());
    write_private(&fixture.path("recipients.txt"), &text);
    set(&store, "after", "2");
    write_private(
        &fixture.path("identity.txt"),
        backup.to_string().expose_secret(),
    );
    assert_eq!(
        get(&fixture.store(), "after").unwrap(),
        pairs(&[("after", "2")])
    );
    let error = get(&fixture.store(), "before").unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn reencrypting_rotates_the_key() {
    let fixture = Fixture::new();
    let store = Store::new(fixture.config().versions_kept(2));
    set(&store, "a", "1");
    set(&store, "a", "2");
    set(&store, "b", "3");
    let old = fs::read_to_string(fixture.path("identity.txt")).unwrap();
    let new = x25519::Identity::generate();
    let both = format!("{}\n{old}", new.to_string().expose_secret());
    write_private(&fixture.path("identity.txt"), &both);
    assert_eq!(store.reencrypt().unwrap(), 3);
    write_private(
        &fixture.path("identity.txt"),
        new.to_string().expose_secret(),
    );
    assert_eq!(
        get(&fixture.store(), "**").unwrap(),
        pairs(&[("a", "2"), ("b", "3")])
    );
    assert_eq!(
        fixture
            .store()
            .get_version(&id("a"), 1)
            .unwrap()
            .unwrap()
            .expose(),
        b"1"
    );
    assert_eq!(fixture.value_files().len(), 3);
}

#[test]
fn an_invalid_recipient_is_reported_with_its_line() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    write_private(&fixture.path("recipients.txt"), "# comment\nage1nonsense\n");
    let error = store.set(&id("b"), &"2".into()).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "line 2 of {}",
            fixture.path("recipients.txt").display()
        )),
        "{error}"
    );
}

#[test]
fn an_invalid_identity_file_is_reported_without_its_content() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    for (content, expected) in [
        ("AGE-SECRET-KEY-1CANARY", "line 1 is not an age secret key"),
        ("# only a comment\n", "it holds no key"),
    ] {
        write_private(&fixture.path("identity.txt"), content);
        let error = get(&fixture.store(), "a").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
}
