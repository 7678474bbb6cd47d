//! A daemon process for the tests that need one of its own. The argument is its home, where `config.toml` is read, if it exists, at
//! the start and at SIGHUP. The log goes to standard error. [`KEEP_ALIVE_VARIABLE`] shortens the time after which a silent plugin is
//! replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_runtime::{Config, ConfigError, Daemon};
use keyway_tests::daemon_process::KEEP_ALIVE_VARIABLE;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    keyway_test_support::log::write_to_stderr();
    let home = PathBuf::from(std::env::args_os().nth(1).expect("a home"));
    let mut hangup = signal(SignalKind::hangup()).expect("a signal handler");
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    let config = read(&home).expect("a configuration");
    let socket = home.join("daemon.sock");
    let daemon = Daemon::bind(config)
        .expect("the daemon listens")
        .on_reload(move || read(&home));
    let handle = daemon.handle();
    let reloads = async move {
        while hangup.recv().await.is_some() {
            match handle.reload().await {
                Some(Err(error)) => tracing::error!(%error, "reload failed"),
                _ => tracing::info!("reloaded"),
            }
        }
    };
    tokio::spawn(reloads);
    let stop = async move {
        terminate.recv().await;
    };
    eprintln!("keyway: ready at {}", socket.display());
    daemon.run(stop).await;
}

fn read(home: &Path) -> Result<Config, ConfigError> {
    let mut config = Config::new(home.join("daemon.sock").into(), home.join("state"));
    config.plugin_dirs = vec![home.join("plugins")];
    config.environment = std::env::vars_os().collect();
    if let Ok(milliseconds) = std::env::var(KEEP_ALIVE_VARIABLE) {
        let milliseconds = milliseconds.parse().expect("milliseconds");
        config.keep_alive = Duration::from_millis(milliseconds);
    }
    let file = home.join("config.toml");
    if file.exists() {
        config.read_file(&file)?;
    }
    Ok(config)
}
