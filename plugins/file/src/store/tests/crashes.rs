//! Crashes at each step of a write, in a child process of the test.

use std::env;
use std::process::{Command, Stdio};

use super::*;
use crate::store::steps::{self, Step};

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
    operate(
        &Store::new(StoreConfig::new(dir).versions_kept(2)),
        &env::var(OPERATION).unwrap(),
    );
}

fn operate(store: &Store, operation: &str) {
    match operation {
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

/// Crashes `operation` at each of its steps in turn, and checks the store that the next process reads.
fn crash_at_each_step(operation: &str, before: &[(&str, &str)], after: &[(&str, &str)]) {
    let (before, after) = (pairs(before), pairs(after));
    for step in 0.. {
        let fixture = Fixture::new();
        let store = Store::new(fixture.config().versions_kept(2));
        if !before.is_empty() {
            set(&store, "a", "older");
            set(&store, "a", "old");
            set(&store, "b", "other");
        }
        let completed = completes(&fixture, operation, step);
        let found = get(&fixture.store(), "**").unwrap();
        assert!(
            found == after || !completed && found == before,
            "{operation}, step {step}: {found:?}"
        );
        if completed {
            assert!(
                step > 5,
                "{operation} has only {step} steps: the observer does not work"
            );
            return;
        }
        assert_next_write_cleans_up(&fixture, step);
    }
}

/// The next write removes the leftovers of a crashed writer.
fn assert_next_write_cleans_up(fixture: &Fixture, step: usize) {
    let store = Store::new(fixture.config().versions_kept(2));
    set(&store, "a", "again");
    let listed = store.list(&"**".parse().unwrap()).unwrap();
    let versions: usize = listed
        .iter()
        .map(|entry| store.history(&entry.id).unwrap().len())
        .sum();
    assert_eq!(fixture.value_files().len(), versions, "step {step}");
    let entries = std::fs::read_dir(fixture.dir()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["identity.txt", "index.age", "store.lock", "values"],
        "step {step}"
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

/// A crash of the machine also loses data that is not yet durable, so the order of the steps matters.
#[test]
fn each_file_is_durable_before_it_is_renamed() {
    let fixture = Fixture::new();
    let store = Store::new(fixture.config().versions_kept(1));
    set(&store, "a", "1");
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = std::rc::Rc::clone(&seen);
    steps::observe(move |step| log.borrow_mut().push(step));
    set(&store, "a", "2");
    let file = [Step::HalfWritten, Step::Written, Step::Synced];
    let mut expected = vec![Step::Locked];
    expected.extend(file);
    expected.push(Step::DirSynced);
    expected.extend(file);
    expected.extend([Step::Renamed, Step::DirSynced, Step::Removed]);
    assert_eq!(*seen.borrow(), expected);
}
