//! Concurrent writers and readers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::store::lock::WriteLock;

#[test]
fn concurrent_writers_lose_no_write() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for writer in 0..4 {
            let store = Store::new(fixture.config().lock_wait(Duration::from_secs(60)));
            scope.spawn(move || {
                for n in 0..10 {
                    set(&store, &format!("w{writer}/s{n}"), &format!("{writer}-{n}"));
                    set(&store, "shared", &format!("{writer}-{n}"));
                }
            });
        }
    });
    let store = fixture.store();
    assert_eq!(get(&store, "*/*").unwrap().len(), 40);
    let versions = store.versions(&id("shared")).unwrap();
    let numbers: Vec<_> = versions.iter().map(|version| version.number).collect();
    assert_eq!(numbers, (31..=40).collect::<Vec<_>>());
    assert_eq!(fixture.value_files().len(), 50);
}

#[test]
fn a_reader_never_sees_a_partial_write() {
    let fixture = Fixture::new();
    let writer = Store::new(fixture.config().versions_kept(1));
    set(&writer, "a", "0");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, done) = (fixture.store(), &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = get(&reader, "**").unwrap();
                    let now: u32 = found[0].1.parse().unwrap();
                    assert!(now >= last, "the value went back from {last} to {now}");
                    last = now;
                }
            });
        }
        for n in 1..=100 {
            set(&writer, "a", &n.to_string());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_writer_times_out_and_names_the_holder_of_the_lock() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let path = fixture.path("store.lock");
    let held = WriteLock::acquire(&path, Duration::ZERO).unwrap();
    let waiting = Store::new(fixture.config().lock_wait(Duration::from_millis(20)));
    let error = message(&waiting.set(&id("a"), &"2".into()).unwrap_err());
    let holder = format!(
        "{} is locked by process {} (",
        path.display(),
        std::process::id()
    );
    assert!(error.starts_with(&holder), "{error}");
    assert!(
        error.ends_with("try again when that has finished"),
        "{error}"
    );
    // Readers do not wait.
    assert_eq!(get(&waiting, "a").unwrap(), pairs(&[("a", "1")]));
    drop(held);
    set(&waiting, "a", "2");
}
