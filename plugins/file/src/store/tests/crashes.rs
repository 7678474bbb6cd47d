//! Crashes at each step of a write, in a child process of the test.

use std::env;
use std::process::{Command, Stdio};

use super::*;
use crate::store::steps::{self, Step};
use crate::{Backup, RestoreKey};

const STORE: &str = "KEYWAY_TEST_CRASH_STORE";
const STEP: &str = "KEYWAY_TEST_CRASH_STEP";
const OPERATION: &str = "KEYWAY_TEST_CRASH_OPERATION";

/// The child process of the tests below, which aborts at the given step. Does nothing if it runs as a test.
#[test]
fn child() {
    let Some(dir) = env::var_os(STORE) else {
        return;
    };
    let mut left: usize = env::var(STEP).unwrap().parse().unwrap();
    steps::observe(move |_| match left.checked_sub(1) {
        Some(remaining) => left = remaining,
        None => std::process::abort(),
    });
    let config = StoreConfig::new(dir).versions_kept(2).work_factor(2);
    operate(config, &env::var(OPERATION).unwrap());
}

fn operate(config: StoreConfig, operation: &str) {
    let passphrase = SecretValue::from("dummy passphrase");
    let backup = || Backup::open(&config.dir().with_file_name("backup")).unwrap();
    let install = |key| {
        let store = Store::new(config.clone());
        let checked = store.check_backup(backup(), key).unwrap();
        store.install(&checked).unwrap();
    };
    let store = &Store::new(config.clone());
    match operation {
        "rekey" => assert_eq!(store.rekey(None).unwrap(), 3),
        "protect" => store.set_passphrase(Some(&passphrase)).unwrap(),
        "unprotect" => Store::new(config.clone().passphrase(passphrase))
            .set_passphrase(None)
            .unwrap(),
        "install" => install(RestoreKey::OfStore),
        "install of file" => {
            let path = config.dir().with_file_name("key");
            install(RestoreKey::OfFile(path, None));
        }
        "install of backup" => install(RestoreKey::OfBackup(passphrase)),
        "set" => set(store, "a", "new"),
        "remove" => assert!(store.remove(&id("a")).unwrap()),
        "restore" => assert_eq!(store.restore(&id("a"), 1).unwrap().number, 3),
        "reencrypt" => assert_eq!(store.reencrypt().unwrap(), 3),
        other => panic!("unknown operation `{other}`"),
    }
}

/// Runs an operation in a child that aborts at its step number `step`; returns `true` if it completed before.
fn completes(fixture: &Fixture, operation: &str, step: usize) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::tests::crashes::child"])
        .env(STORE, fixture.dir())
        .env(STEP, step.to_string())
        .env(OPERATION, operation)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success()
}

/// Crashes `operation` at each of its steps in turn, and checks the files that the crash leaves behind.
fn crash_at_each_step_of(
    operation: &str,
    prepare: impl Fn(&Fixture),
    check: impl Fn(&Fixture, bool, &str),
) {
    for step in 0.. {
        let fixture = Fixture::new();
        prepare(&fixture);
        let completed = completes(&fixture, operation, step);
        check(&fixture, completed, &format!("{operation}, step {step}"));
        if completed {
            assert!(
                step > 5,
                "{operation} has only {step} steps: the observer does not work"
            );
            return;
        }
    }
}

/// Crashes `operation` at each of its steps in turn, and checks the store that the next process reads.
fn crash_at_each_step(operation: &str, before: &[(&str, &str)], after: &[(&str, &str)]) {
    let prepare = |fixture: &Fixture| {
        if !before.is_empty() {
            fill(fixture);
        }
    };
    let (before, after) = (pairs(before), pairs(after));
    crash_at_each_step_of(operation, prepare, |fixture, completed, step| {
        let found = get(&fixture.store(), "**").unwrap();
        assert!(
            found == after || !completed && found == before,
            "{step}: {found:?}"
        );
        if !completed {
            assert_next_write_cleans_up(fixture, step);
        }
    });
}

/// Stores three versions of two secrets.
fn fill(fixture: &Fixture) {
    let store = Store::new(fixture.config().versions_kept(2));
    set(&store, "a", "older");
    set(&store, "a", "old");
    set(&store, "b", "other");
}

fn with_passphrase(fixture: &Fixture) -> Store {
    let passphrase = SecretValue::from("dummy passphrase");
    Store::new(fixture.config().passphrase(passphrase).work_factor(2))
}

/// The next write removes the leftovers of a crashed writer.
fn assert_next_write_cleans_up(fixture: &Fixture, step: &str) {
    let store = Store::new(fixture.config().versions_kept(2));
    set(&store, "a", "again");
    let listed = store.list(&"**".parse().unwrap()).unwrap();
    let versions: usize = listed
        .iter()
        .map(|entry| store.history(&entry.id).unwrap().len())
        .sum();
    assert_eq!(fixture.value_files().len(), versions, "{step}");
    let entries = std::fs::read_dir(fixture.dir()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["identity.txt", "index.age", "store.lock", "values"],
        "{step}"
    );
}

#[test]
fn a_crash_of_the_first_write_leaves_the_old_or_the_new_state() {
    crash_at_each_step("set", &[], &[("a", "new")]);
}

#[test]
fn a_crash_of_a_later_write_leaves_the_old_or_the_new_state() {
    crash_at_each_step(
        "set",
        &[("a", "old"), ("b", "other")],
        &[("a", "new"), ("b", "other")],
    );
}

#[test]
fn a_crash_of_a_removal_leaves_the_old_or_the_new_state() {
    crash_at_each_step("remove", &[("a", "old"), ("b", "other")], &[("b", "other")]);
}

#[test]
fn a_crash_of_a_restore_leaves_the_old_or_the_new_state() {
    crash_at_each_step(
        "restore",
        &[("a", "old"), ("b", "other")],
        &[("a", "older"), ("b", "other")],
    );
}

#[test]
fn a_crash_of_a_reencryption_leaves_all_values() {
    let same = [("a", "old"), ("b", "other")];
    crash_at_each_step("reencrypt", &same, &same);
}

#[test]
fn a_crash_of_a_rekey_leaves_all_values_and_another_one_completes_it() {
    let values = [("a", "old"), ("b", "other")];
    crash_at_each_step("rekey", &values, &values);
    crash_at_each_step_of("rekey", fill, |fixture, _, step| {
        let store = Store::new(fixture.config().versions_kept(2));
        assert_eq!(store.rekey(None).unwrap(), 3, "{step}");
        assert_eq!(
            get(&fixture.store(), "**").unwrap(),
            pairs(&values),
            "{step}"
        );
        let identity = std::fs::read_to_string(fixture.path("identity.txt")).unwrap();
        assert_eq!(identity.matches("AGE-SECRET-KEY").count(), 1, "{step}");
        assert_eq!(fixture.value_files().len(), 3, "{step}");
    });
}

#[test]
fn a_crash_while_a_passphrase_is_set_or_removed_leaves_a_store_that_opens() {
    let values = pairs(&[("a", "old"), ("b", "other")]);
    let check = |was_protected: bool| {
        let values = values.clone();
        move |fixture: &Fixture, completed: bool, step: &str| {
            let plain = get(&fixture.store(), "**");
            let protected = get(&with_passphrase(fixture), "**");
            let (old, new) = match was_protected {
                true => (protected, plain),
                false => (plain, protected),
            };
            let opened = if completed { new } else { old.or(new) };
            assert_eq!(opened.unwrap(), values, "{step}");
            assert!(!completed || fixture.path("identity.txt").exists() == was_protected);
        }
    };
    crash_at_each_step_of("protect", fill, check(false));
    let protect = |fixture: &Fixture| {
        fill(fixture);
        let store = Store::new(fixture.config().work_factor(2));
        let passphrase = SecretValue::from("dummy passphrase");
        store.set_passphrase(Some(&passphrase)).unwrap();
    };
    crash_at_each_step_of("unprotect", protect, check(true));
}

#[test]
fn a_crash_of_a_restored_backup_leaves_the_old_or_the_new_state() {
    let prepare = |fixture: &Fixture| {
        set(&fixture.store(), "a", "backed up");
        let backup = fixture.root.path().join("backup");
        fixture.store().back_up(&backup, false, None).unwrap();
        fill(fixture);
    };
    let (before, after) = (
        pairs(&[("a", "old"), ("b", "other")]),
        pairs(&[("a", "backed up")]),
    );
    crash_at_each_step_of("install", prepare, |fixture, completed, step| {
        let found = get(&fixture.store(), "**").unwrap();
        assert!(
            found == after || !completed && found == before,
            "{step}: {found:?}"
        );
        set(&fixture.store(), "c", "next");
        assert!(
            !std::fs::read_dir(fixture.dir()).unwrap().any(|entry| entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.')),
            "{step}"
        );
    });
}

/// A backup of another store, with its identity in `key` and, protected, in the backup.
fn prepare_foreign_backup(fixture: &Fixture) {
    let other = Store::new(StoreConfig::new(fixture.root.path().join("other")).work_factor(2));
    set(&other, "a", "backed up");
    let passphrase = SecretValue::from("dummy passphrase");
    let backup = fixture.root.path().join("backup");
    other.back_up(&backup, false, Some(&passphrase)).unwrap();
    let key = other.dir().join("identity.txt");
    std::fs::copy(key, fixture.root.path().join("key")).unwrap();
    fill(fixture);
}

#[test]
fn a_crash_of_a_restored_backup_with_another_identity_leaves_a_store_that_opens() {
    let (before, after) = (
        pairs(&[("a", "old"), ("b", "other")]),
        pairs(&[("a", "backed up")]),
    );
    for operation in ["install of file", "install of backup"] {
        crash_at_each_step_of(
            operation,
            prepare_foreign_backup,
            |fixture, completed, step| {
                let plain = get(&fixture.store(), "**");
                let found = plain.or_else(|_| get(&with_passphrase(fixture), "**"));
                let found = found.unwrap_or_else(|error| panic!("{step}: {error}"));
                assert!(
                    found == after || !completed && found == before,
                    "{step}: {found:?}"
                );
            },
        );
    }
}

/// A crash of the machine also loses data that is not yet durable, so the order of the steps matters.
#[test]
fn each_file_is_durable_before_it_is_renamed() {
    let fixture = Fixture::new();
    let store = Store::new(fixture.config().versions_kept(1));
    set(&store, "a", "1");
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = std::rc::Rc::clone(&seen);
    steps::observe(move |step| match step {
        Step::IndexOpened => {}
        step => log.borrow_mut().push(step),
    });
    set(&store, "a", "2");
    let file = [Step::HalfWritten, Step::Written, Step::Synced];
    let mut expected = vec![Step::Locked];
    expected.extend(file);
    expected.push(Step::DirSynced);
    expected.extend(file);
    expected.extend([Step::Renamed, Step::DirSynced, Step::Removed]);
    assert_eq!(*seen.borrow(), expected);
}
