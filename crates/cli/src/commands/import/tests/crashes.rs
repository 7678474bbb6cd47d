//! The process is killed at each step of an import, in a child process of the test.

use std::env;
use std::process::{Command, Stdio};

use clap::Parser;
use rustix::process::{Signal, getpid, kill_process};

use super::*;
use crate::commands::import::steps;
use crate::commands::import::vault::StoreVault;
use crate::globals::Globals;
use crate::store::StoreOptions;

const DIRECTORY: &str = "KEYWAY_TEST_IMPORT_DIRECTORY";
const STEP: &str = "KEYWAY_TEST_IMPORT_STEP";

const BEFORE: &str = "# c\nA_TOKEN='not-a-real-token'\nPORT=3000\nB_TOKEN=not-a-real-secret\n";
const AFTER: &str = "# c\nA_TOKEN='se://shop/a-token'\nPORT=3000\nB_TOKEN=se://shop/b-token\n";
const VALUES: [(&str, &str); 2] = [
    ("shop/a-token", "not-a-real-token"),
    ("shop/b-token", "not-a-real-secret"),
];

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    store: StoreOptions,
}

fn options(directory: &Path) -> Options {
    Options::parse_from([
        "test".into(),
        "--store".into(),
        directory.join("store").into_os_string(),
    ])
}

/// Imports the file with a backup.
fn import(directory: &Path) {
    let options = options(directory);
    let globals = Globals::default();
    let vault = StoreVault::new(&globals, &options.store).unwrap();
    let batch = read(&[directory.join("shop/.env")], &vault);
    let file = &batch.files[0];
    apply(&file.source, &file.plan, &vault, true).unwrap();
}

/// The child process, which kills itself at the given step. Does nothing if it runs as a test.
#[test]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let mut left: usize = env::var(STEP).unwrap().parse().unwrap();
    steps::observe(move |_| match left.checked_sub(1) {
        Some(remaining) => left = remaining,
        None => kill_process(getpid(), Signal::KILL).unwrap(),
    });
    import(Path::new(&directory));
}

/// Returns `true` if the child completed before its step number `step`.
fn completes(directory: &Path, step: usize) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "commands::import::tests::crashes::child"])
        .env(DIRECTORY, directory)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success()
}

#[test]
fn a_killed_import_loses_no_value_and_can_be_repeated() {
    for step in 0.. {
        let project = Project::new(BEFORE);
        let directory = project.path("");
        let completed = completes(&directory, step);
        let text = project.env();
        assert!(
            text == AFTER || !completed && text == BEFORE,
            "step {step}: {text}"
        );
        if text == AFTER {
            check_stored(&directory, step);
        }
        import(&directory);
        assert_eq!(project.env(), AFTER, "step {step}");
        check_stored(&directory, step);
        let files = names(&project.path("shop"));
        assert!(
            !files.iter().any(|name| name.ends_with(".tmp")),
            "step {step}: {files:?}"
        );
        if completed {
            assert!(step >= 9, "only {step} steps: the observer does not work");
            return;
        }
    }
}

fn check_stored(directory: &Path, step: usize) {
    let options = options(directory);
    let globals = Globals::default();
    let vault = StoreVault::new(&globals, &options.store).unwrap();
    for (id, value) in VALUES {
        let stored = vault.current(&id.parse().unwrap()).unwrap();
        assert_eq!(stored, Some(value.into()), "step {step}");
    }
}

/// A crash of the machine also loses data that is not yet durable, so the order of the steps matters.
#[test]
fn the_file_is_replaced_after_the_values_were_read_back() {
    use steps::Step;
    let project = Project::new(BEFORE);
    let seen = std::rc::Rc::new(RefCell::new(Vec::new()));
    let log = std::rc::Rc::clone(&seen);
    steps::observe(move |step| log.borrow_mut().push(step));
    import(&project.path(""));
    let expected = [
        Step::Stored,
        Step::Stored,
        Step::Verified,
        Step::BackedUp,
        Step::Created,
        Step::HalfWritten,
        Step::Synced,
        Step::Renamed,
        Step::DirectorySynced,
    ];
    assert_eq!(*seen.borrow(), expected);
}
