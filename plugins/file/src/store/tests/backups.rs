//! Backups, and restoring them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{Backup, Installed, RestoreKey};

fn secret(text: &str) -> SecretValue {
    SecretValue::from(text)
}

/// Fills a store, and returns the path of a backup of it.
fn backed_up(fixture: &Fixture) -> PathBuf {
    let store = fixture.store();
    set(&store, "a", "canary-1");
    set(&store, "a", "canary-2");
    set(&store, "b", "canary-3");
    store.remove(&id("b")).unwrap();
    let path = fixture.root.path().join("backup");
    let report = store.back_up(&path, false, None).unwrap();
    assert_eq!((report.n_values, report.has_identity), (3, false));
    assert_eq!(report.len, fs::metadata(&path).unwrap().len());
    path
}

fn restore(store: &Store, path: &Path, key: RestoreKey) -> Result<Installed, StoreError> {
    let checked = store.check_backup(Backup::open(path)?, key)?;
    store.install(&checked)
}

#[test]
fn a_restored_store_has_every_version_and_the_replaced_one_is_complete() {
    let fixture = Fixture::new();
    let backup = backed_up(&fixture);
    let store = fixture.store();
    set(&store, "a", "later");
    set(&store, "c", "later");
    let reader = fixture.store();
    assert_eq!(get(&reader, "c").unwrap().len(), 1);

    let installed = restore(&store, &backup, RestoreKey::OfStore).unwrap();
    assert_eq!(
        (installed.n_secrets, installed.has_new_identity),
        (1, false)
    );
    assert_eq!(get(&reader, "**").unwrap(), pairs(&[("a", "canary-2")]));
    assert_eq!(reader.history(&id("a")).unwrap().len(), 2);
    assert_eq!(reader.restore(&id("b"), 1).unwrap().number, 2);

    let replaced = Store::new(StoreConfig::new(installed.replaced.unwrap()));
    let later = pairs(&[("a", "later"), ("c", "later")]);
    assert_eq!(get(&replaced, "**").unwrap(), later);
    let again = restore(&store, &backup, RestoreKey::OfStore).unwrap();
    assert_ne!(again.replaced.unwrap(), replaced.dir());
}

#[test]
fn a_backup_is_private_and_holds_no_plaintext() {
    let fixture = Fixture::new();
    let path = backed_up(&fixture);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let content = fs::read(&path).unwrap();
    let contains = |text: &str| {
        content
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(!contains("canary") && !contains("AGE-SECRET-KEY"));
    assert!(contains("values/") && !contains("identity"));
}

#[test]
fn a_backup_is_overwritten_only_if_that_is_requested() {
    let fixture = Fixture::new();
    let path = backed_up(&fixture);
    let before = fs::read(&path).unwrap();
    let store = fixture.store();
    let error = store.back_up(&path, false, None).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    set(&store, "c", "new");
    assert_eq!(store.back_up(&path, true, None).unwrap().n_values, 4);
    assert_ne!(fs::read(&path).unwrap(), before);
    let names: Vec<_> = fs::read_dir(fixture.root.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_protected_identity_is_in_the_backup_and_opens_it_on_another_machine() {
    let (fixture, machine) = (Fixture::new(), Fixture::new());
    set(&fixture.store(), "a", "1");
    let store = Store::new(fixture.config().work_factor(2));
    store.set_passphrase(Some(&secret("dummy"))).unwrap();
    let path = fixture.root.path().join("backup");
    // No passphrase is needed for the backup.
    assert!(
        fixture
            .store()
            .back_up(&path, false, None)
            .unwrap()
            .has_identity
    );

    let elsewhere = machine.store();
    let wrong = restore(&elsewhere, &path, RestoreKey::OfBackup(secret("wrong")));
    assert!(matches!(wrong, Err(StoreError::WrongPassphrase { .. })));
    assert!(!machine.dir().exists());
    let installed = restore(&elsewhere, &path, RestoreKey::OfBackup(secret("dummy"))).unwrap();
    assert_eq!(
        (installed.replaced, installed.has_new_identity),
        (None, true)
    );
    let reader = Store::new(machine.config().passphrase(secret("dummy")));
    assert_eq!(get(&reader, "a").unwrap(), pairs(&[("a", "1")]));
}

#[test]
fn an_unprotected_identity_is_in_the_backup_only_with_a_passphrase() {
    let (fixture, machine) = (Fixture::new(), Fixture::new());
    set(&fixture.store(), "a", "1");
    let store = Store::new(fixture.config().work_factor(2));
    let path = fixture.root.path().join("backup");
    let report = store.back_up(&path, false, Some(&secret("dummy"))).unwrap();
    assert!(report.has_identity && fixture.path("identity.txt").exists());
    restore(
        &machine.store(),
        &path,
        RestoreKey::OfBackup(secret("dummy")),
    )
    .unwrap();
    assert!(machine.path("identity.age").exists());
}

#[test]
fn an_identity_in_a_file_opens_a_backup_without_one() {
    let (fixture, machine) = (Fixture::new(), Fixture::new());
    let path = backed_up(&fixture);
    set(&machine.store(), "m", "of this machine");
    let error = restore(&machine.store(), &path, RestoreKey::OfStore).unwrap_err();
    assert!(
        matches!(error, StoreError::BackupOfOtherIdentity { .. }),
        "{error}"
    );
    let error = restore(&machine.store(), &path, RestoreKey::OfBackup(secret("x"))).unwrap_err();
    assert!(
        matches!(error, StoreError::BackupOfOtherIdentity { .. }),
        "{error}"
    );
    let key = RestoreKey::OfFile(fixture.path("identity.txt"), None);
    let installed = restore(&machine.store(), &path, key).unwrap();
    assert_eq!(
        get(&machine.store(), "**").unwrap(),
        pairs(&[("a", "canary-2")])
    );
    assert_eq!(
        fs::read(machine.path("identity.txt")).unwrap(),
        fs::read(fixture.path("identity.txt")).unwrap()
    );
    let replaced = Store::new(StoreConfig::new(installed.replaced.unwrap()));
    assert_eq!(
        get(&replaced, "**").unwrap(),
        pairs(&[("m", "of this machine")])
    );
}

#[test]
fn an_identity_elsewhere_is_not_replaced() {
    let (fixture, machine) = (Fixture::new(), Fixture::new());
    let path = backed_up(&fixture);
    let store = Store::new(machine.config().identity(machine.root.path().join("stick")));
    let key = RestoreKey::OfFile(fixture.path("identity.txt"), None);
    let error = restore(&store, &path, key).unwrap_err();
    assert!(
        matches!(error, StoreError::IdentityElsewhere { .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_store_is_replaced_and_kept_as_it_is() {
    let fixture = Fixture::new();
    let path = backed_up(&fixture);
    fs::write(fixture.path("index.age"), "not age").unwrap();
    let installed = restore(&fixture.store(), &path, RestoreKey::OfStore).unwrap();
    assert_eq!(
        get(&fixture.store(), "**").unwrap(),
        pairs(&[("a", "canary-2")])
    );
    let kept = installed.replaced.unwrap().join("index.age");
    assert_eq!(fs::read(kept).unwrap(), b"not age");
}

#[test]
fn further_recipients_are_those_of_the_backup() {
    let fixture = Fixture::new();
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    set(&fixture.store(), "a", "1");
    let without = fixture.root.path().join("without");
    fixture.store().back_up(&without, false, None).unwrap();
    let list = fixture.path("recipients.txt");
    fs::write(&list, &recipient).unwrap();
    fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let with = fixture.root.path().join("with");
    fixture.store().back_up(&with, false, None).unwrap();

    let kept = restore(&fixture.store(), &without, RestoreKey::OfStore).unwrap();
    assert!(!list.exists() && kept.replaced.unwrap().join("recipients.txt").exists());
    restore(&fixture.store(), &with, RestoreKey::OfStore).unwrap();
    assert_eq!(fs::read_to_string(&list).unwrap(), recipient);
}

/// Nothing of a backup that is not whole gets into the store.
#[test]
fn a_damaged_backup_is_refused_and_nothing_is_touched() {
    let fixture = Fixture::new();
    let path = backed_up(&fixture);
    let content = fs::read(&path).unwrap();
    set(&fixture.store(), "later", "1");
    let snapshot = || {
        let files = walk(&fixture.dir());
        files
            .into_iter()
            .map(|path| (fs::read(&path).unwrap_or_default(), path))
            .collect::<Vec<_>>()
    };
    let before = snapshot();
    // Each block of 512 bytes is changed in turn; the padding of the archive and the headers' unused fields have no meaning.
    let mut n_refused = 0;
    for at in (7..content.len()).step_by(512) {
        let mut changed = content.clone();
        changed[at] ^= 0x55;
        fs::write(&path, &changed).unwrap();
        let store = fixture.store();
        match Backup::open(&path).and_then(|backup| store.check_backup(backup, RestoreKey::OfStore))
        {
            Err(_) => n_refused += 1,
            Ok(_) => assert!(
                content[at] == 0,
                "byte {at} of {} was changed",
                content.len()
            ),
        }
    }
    assert!(n_refused > 10, "{n_refused}");
    for len in [0, 100, 512, content.len() / 2, content.len() - 2048] {
        fs::write(&path, &content[..len]).unwrap();
        let store = fixture.store();
        let checked =
            Backup::open(&path).and_then(|backup| store.check_backup(backup, RestoreKey::OfStore));
        let error = checked.unwrap_err();
        assert!(
            matches!(error, StoreError::InvalidBackup { .. }),
            "{len}: {error}"
        );
    }
    assert_eq!(snapshot(), before);
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(walk(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}

#[test]
fn a_backup_that_changes_after_its_check_is_refused_and_the_store_stays() {
    let fixture = Fixture::new();
    let path = backed_up(&fixture);
    set(&fixture.store(), "later", "1");
    let store = fixture.store();
    let checked = store.check_backup(Backup::open(&path).unwrap(), RestoreKey::OfStore);
    let checked = checked.unwrap();
    // In place, so that the opened file is changed.
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len / 2)
        .unwrap();
    let error = store.install(&checked).unwrap_err();
    assert!(matches!(error, StoreError::InvalidBackup { .. }), "{error}");
    assert_eq!(
        get(&fixture.store(), "**").unwrap(),
        pairs(&[("a", "canary-2"), ("later", "1")])
    );
    let left = fs::read_dir(fixture.dir()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.starts_with("replaced")));
}

/// Returns an archive of entries of any type.
fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn other_archives_are_refused() {
    use tar::EntryType;
    let manifest = (
        "keyway-backup.json",
        EntryType::Regular,
        &b"{\"format\":1,\"created_at_ms\":0}"[..],
    );
    let newer = (
        "keyway-backup.json",
        EntryType::Regular,
        &b"{\"format\":2,\"created_at_ms\":0}"[..],
    );
    let index = ("index.age", EntryType::Regular, &b"x"[..]);
    let fixture = Fixture::new();
    let path = fixture.root.path().join("archive");
    for entries in [
        vec![],
        vec![index],
        vec![index, manifest],
        vec![manifest],
        vec![manifest, manifest, index],
        vec![newer, index],
        vec![manifest, ("../index.age", EntryType::Regular, b"x")],
        vec![manifest, ("values/../../x.age", EntryType::Regular, b"x")],
        vec![manifest, ("index.age", EntryType::Symlink, b"")],
        vec![manifest, ("identity.txt", EntryType::Regular, b"x")],
        vec![("keyway-backup.json", EntryType::Regular, b"{}"), index],
    ] {
        fs::write(&path, archive(&entries)).unwrap();
        assert!(Backup::open(&path).is_err(), "{entries:?}");
    }
    fs::write(&path, archive(&[manifest, index])).unwrap();
    assert!(Backup::open(&path).is_ok());
    assert!(Backup::open(fixture.root.path()).is_err());
    assert!(Backup::open(Path::new("/dev/null")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Foreign bytes never panic, and a header never makes a buffer of the size that it claims.
    #[test]
    fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), claims in any::<bool>()) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        if claims {
            let mut header = tar::Header::new_gnu();
            header.set_size(1 << 62);
            header.set_path("index.age").unwrap();
            header.set_cksum();
            bytes.splice(0..0, header.as_bytes().iter().copied());
        }
        file.write_all(&bytes).unwrap();
        prop_assert!(Backup::open(file.path()).is_err());
    }
}
