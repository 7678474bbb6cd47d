use std::error::Error;
use std::io;
use std::sync::{Mutex, mpsc};

use keyway_local::file::{OpenError, check_owners};
use keyway_test_support::assert_causes_said_once;
use tokio::time::{Instant, advance, pause, resume, timeout};

use super::*;

fn config(directory: &Path) -> Config {
    Config::new(
        directory.join("daemon.sock").into(),
        directory.join("state"),
    )
}

#[tokio::test]
async fn a_reload_on_a_file_system_that_hangs_fails_in_time_and_does_not_hold_up_the_stop() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = config(directory.path());
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let (release, hung) = mpsc::channel::<()>();
    let hung = Mutex::new(hung);
    let daemon = Daemon::bind(config.clone()).expect("bound");
    let daemon = daemon.on_reload(move || {
        began.blocking_send(()).expect("waited for");
        // Until the test ends.
        let _ = hung.lock().expect("one reload").recv();
        Ok(config.clone())
    });
    let handle = daemon.handle();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));
    let reload = tokio::spawn({
        let handle = handle.clone();
        async move { handle.reload().await }
    });
    has_begun.recv().await.expect("begun");
    pause();
    // Timers are rounded up to the next millisecond.
    advance(Duration::from_millis(10_001)).await;
    let result = reload.await.expect("no panic").expect("the daemon runs");
    let error = result.expect_err("too late");
    assert!(matches!(*error, ConfigError::TimedOut { .. }), "{error}");
    let begin = Instant::now();
    let result = handle.reload().await.expect("the daemon runs");
    assert!(matches!(
        *result.expect_err("too late"),
        ConfigError::TimedOut { .. }
    ));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    resume();
    drop(stop);
    let ended = timeout(Duration::from_secs(20), running).await;
    ended.expect("stopped").expect("no panic");
    drop(release);
}

#[test]
fn no_error_contains_the_text_of_its_cause() {
    use crate::launch::Refusal;
    use crate::manager::DiscoveryProblem;
    let source = || io::Error::from_raw_os_error(libc::EACCES);
    let path = || "/a".into();
    let open = || OpenError::Io {
        path: path(),
        source: source(),
    };
    let offences = || check_owners(Path::new("/nowhere/at/all")).expect_err("absent");
    let listen = |error| BindError::from(error);
    let errors: [Box<dyn Error>; 13] = [
        Box::new(ConfigError::Read(open())),
        Box::new(ConfigError::Untrusted(offences())),
        Box::new(listen(ListenError::Directory(offences()))),
        Box::new(listen(ListenError::Io {
            address: Address::Path(path()),
            what: "bind",
            source: source(),
        })),
        Box::new(BindError::State(source())),
        Box::new(StateLockError::Failed {
            directory: path(),
            source: source(),
        }),
        Box::new(LaunchError::from(open())),
        Box::new(LaunchError::from(Refusal::Owners(offences()))),
        Box::new(LaunchError::Execute {
            path: path(),
            source: source(),
        }),
        Box::new(LaunchError::Prepare {
            what: "fork",
            source: source(),
        }),
        Box::new(DiscoveryProblem::Directory {
            path: path(),
            source: source(),
        }),
        Box::new(DiscoveryProblem::Untrusted {
            path: path(),
            source: offences(),
        }),
        Box::new(DiscoveryProblem::Unreadable {
            path: path(),
            source: source(),
        }),
    ];
    for error in errors {
        assert!(error.source().is_some(), "{error}");
        assert_causes_said_once(&*error);
    }
}
