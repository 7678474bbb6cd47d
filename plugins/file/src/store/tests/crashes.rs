//! A process that dies while it writes: it really dies, in a child of the test, at each step of a write.

use std::env;
use std::process::{Command, Stdio};

use super::*;
use crate::store::steps::{self, Step};

const STORE: &str = "KEYWAY_TEST_CRASH_STORE";
const STEP: &str = "KEYWAY_TEST_CRASH_STEP";
const OPERATION: &str = "KEYWAY_TEST_CRASH_OPERATION";

/// Not a test of its own: the child that the tests below start, which dies at the step that it is told.
#[test]
fn child() {
    let Some(dir) = env::var_os(STORE) else {
        return;
    };
    let mut left: usize = env::var(STEP).unwrap().parse().unwrap();
    steps::observe(move |_| match left.checked_sub(1) {
        Some(rest) => left = rest,
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
        "reencrypt" => assert_eq!(store.reencrypt().unwrap(), 3),
        other => panic!("unknown operation `{other}`"),
    }
}

/// Runs an operation in a child that dies at its step number `step`; `true` if it came to its end before.
fn survives(fixture: &Fixture, operation: &str, step: usize) -> bool {
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

/// Lets `operation` die at each of its steps in turn, and checks what the next process finds.
fn crash_everywhere(operation: &str, before: &[(&str, &str)], after: &[(&str, &str)]) {
    let (before, after) = (pairs(before), pairs(after));
    for step in 0.. {
        let fixture = Fixture::new();
        let store = Store::new(fixture.config().versions_kept(2));
        if !before.is_empty() {
            set(&store, "a", "older");
            set(&store, "a", "old");
            set(&store, "b", "other");
        }
        let survived = survives(&fixture, operation, step);
        let found = get(&fixture.store(), "**").unwrap();
        assert!(
            found == after || !survived && found == before,
            "{operation}, step {step}: {found:?}"
        );
        if survived {
            assert!(
                step > 5,
                "{operation} has only {step} steps: the observer does not work"
            );
            return;
        }
        assert_next_write_cleans_up(&fixture, step);
    }
}

/// What a dead writer left is gone after the next write.
fn assert_next_write_cleans_up(fixture: &Fixture, step: usize) {
    let store = Store::new(fixture.config().versions_kept(2));
    set(&store, "a", "again");
    let listed = store.list(&"**".parse().unwrap()).unwrap();
    let versions: usize = listed
        .iter()
        .map(|entry| store.versions(&entry.id).unwrap().len())
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
fn the_first_write_ever() {
    crash_everywhere("set", &[], &[("a", "new")]);
}

#[test]
fn a_later_write() {
    crash_everywhere(
        "set",
        &[("a", "old"), ("b", "other")],
        &[("a", "new"), ("b", "other")],
    );
}

#[test]
fn a_removal() {
    crash_everywhere("remove", &[("a", "old"), ("b", "other")], &[("b", "other")]);
}

#[test]
fn encrypting_again() {
    let same = [("a", "old"), ("b", "other")];
    crash_everywhere("reencrypt", &same, &same);
}

/// A crash of the machine also loses what was not yet made durable, so the order of the steps matters.
#[test]
fn each_name_is_put_in_place_only_when_its_content_is_durable() {
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
