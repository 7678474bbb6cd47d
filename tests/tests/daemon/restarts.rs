//! Clients that call without a pause while their daemon is stopped, killed or replaced: each call returns the right value, or an error
//! that names the cause, in time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keyway_resolver::{DaemonSocket, ResolveError, Resolver, Secrets, blocking};
use keyway_test_support::wait_until;
use keyway_tests::DaemonProcess;
use keyway_tests::daemon::Home;
use rustix::process::geteuid;
use tokio::runtime::{Builder, Runtime};

use crate::common::{DAEMON, ID, PLUGIN, provider};

/// How long one call may take on a busy machine: a query waits for a provider that starts.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The link in the home of the first daemon to the socket of the daemon that clients are to call.
const CURRENT: &str = "current.sock";

/// Gets the secrets that match [`ID`].
type Get = Box<dyn Fn() -> Result<Secrets, ResolveError> + Send>;

/// A thread that calls until it is stopped.
struct Caller {
    n_right: Arc<AtomicUsize>,
    /// Returns the errors of the calls by their texts.
    thread: JoinHandle<BTreeMap<String, ResolveError>>,
}

impl Caller {
    fn start(get: Get, is_over: Arc<AtomicBool>) -> Self {
        let n_right = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&n_right);
        let thread = std::thread::spawn(move || {
            let mut errors = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) {
                match get() {
                    Ok(secrets) => {
                        assert_right(&secrets);
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        errors.entry(error.to_string()).or_insert(error);
                    }
                }
            }
            errors
        });
        Self { n_right, thread }
    }
}

#[track_caller]
fn assert_right(secrets: &Secrets) {
    let values = secrets.envelopes.iter();
    let values: Vec<&[u8]> = values.map(|envelope| envelope.value.expose()).collect();
    assert_eq!(values, [b"right"]);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// One async client on runtimes of several kinds, one of which ends after each call, and one blocking client on several threads.
fn faces(home: &Home) -> Vec<Get> {
    let socket = || DaemonSocket::at(home.join(CURRENT).into());
    let client = Resolver::new(socket()).with_timeout(CALL_LIMIT);
    let query = || ID.parse().unwrap();
    let mut threads = Builder::new_multi_thread();
    let threads = threads.worker_threads(2).enable_all().build().unwrap();
    let mut faces: Vec<Get> = Vec::new();
    for runtime in [runtime(), threads] {
        let client = client.clone();
        faces.push(Box::new(move || runtime.block_on(client.get(&query()))));
    }
    faces.push(Box::new(move || runtime().block_on(client.get(&query()))));
    // As a command does, each call makes a connection.
    for _ in 0..3 {
        let client = Resolver::new(socket().max_idle(0)).with_timeout(CALL_LIMIT);
        let runtime = runtime();
        faces.push(Box::new(move || runtime.block_on(client.get(&query()))));
    }
    let client = blocking::Resolver::new(socket()).unwrap();
    let client = Arc::new(client.with_timeout(CALL_LIMIT));
    for _ in 0..2 {
        let client = Arc::clone(&client);
        faces.push(Box::new(move || client.get(&query())));
    }
    faces
}

fn start(home: &Arc<Home>) -> DaemonProcess {
    DaemonProcess::start(DAEMON, Arc::clone(home), &[], geteuid().as_raw())
}

fn home() -> Arc<Home> {
    let home = Home::new(PLUGIN);
    home.play("db", &provider("right"));
    home.into()
}

/// Replaces [`CURRENT`] in one step.
fn point_to(daemon: &Home, clients: &Home) {
    let fresh = clients.join("fresh.sock");
    symlink(daemon.socket(), &fresh).unwrap();
    fs::rename(fresh, clients.join(CURRENT)).unwrap();
}

/// Waits until every caller has got the value twice more, the second time by a call that began after this did.
fn wait_for_progress(callers: &[Caller]) {
    let counts = || {
        callers
            .iter()
            .map(|caller| caller.n_right.load(Ordering::Relaxed))
    };
    let before: Vec<usize> = counts().collect();
    wait_until("every caller to get the value", || {
        counts().zip(&before).all(|(now, before)| now >= before + 2)
            || callers.iter().any(|caller| caller.thread.is_finished())
    });
}

/// Calls with all faces until `work` is done, and returns the errors.
fn while_calling(home: &Home, work: impl FnOnce(&[Caller])) -> BTreeMap<String, ResolveError> {
    let is_over = Arc::<AtomicBool>::default();
    let faces = faces(home).into_iter();
    let callers: Vec<Caller> = faces
        .map(|get| Caller::start(get, Arc::clone(&is_over)))
        .collect();
    wait_for_progress(&callers);
    work(&callers);
    is_over.store(true, Ordering::Relaxed);
    let errors = callers.into_iter();
    errors
        .flat_map(|caller| caller.thread.join().unwrap())
        .collect()
}

#[test]
fn calls_during_stops_of_the_daemon_return_the_value_or_name_the_stop() {
    let (home, other) = (home(), home());
    let mut daemon = start(&home);
    point_to(&home, &home);
    let errors = while_calling(&home, |callers| {
        for _ in 0..4 {
            daemon.stop();
            daemon = start(&home);
            wait_for_progress(callers);
        }
        // Another daemon takes the path, as after an upgrade that starts the new one first.
        let successor = start(&other);
        point_to(&other, &home);
        wait_for_progress(callers);
        daemon.stop();
        wait_for_progress(callers);
        successor.stop();
    });
    // On a busy machine a request may last until its provider stops.
    let is_expected = |error: &ResolveError| {
        matches!(error, ResolveError::NotRunning(_))
            || error.to_string().contains("the daemon is stopping")
    };
    assert!(errors.values().all(is_expected), "{errors:#?}");
}

#[test]
fn calls_during_crashes_of_the_daemon_return_the_value_or_name_the_cause() {
    let home = home();
    let mut daemon = start(&home);
    point_to(&home, &home);
    let errors = while_calling(&home, |callers| {
        for _ in 0..4 {
            daemon.kill();
            daemon = start(&home);
            wait_for_progress(callers);
        }
        daemon.kill();
    });
    // The connection may break before or after the daemon has the request.
    let is_expected = |error: &ResolveError| {
        matches!(
            error,
            ResolveError::NotRunning(_) | ResolveError::Unavailable { .. }
        )
    };
    assert!(errors.values().all(is_expected), "{errors:#?}");
}
