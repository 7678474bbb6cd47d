use std::sync::{Mutex, mpsc};

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
