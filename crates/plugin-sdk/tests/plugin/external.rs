//! Plugins that this test program runs itself: a test starts the program again, for itself alone, as an external plugin.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use keyway_plugin_sdk::testing::block_on;
use keyway_plugin_sdk::{
    Envelope, ErrorKind, MAX_BLOCKING_THREADS, Pattern, Plugin, ProviderError, Query,
    ResultExt as _, SecretsProvider, blocking, command,
};
use keyway_test_support::process::in_group;
use keyway_test_support::wait::asynchronous::wait_until;
use keyway_test_support::{Home, WAIT_LIMIT};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::common::{External, is_plugin, text};

/// Names the socket of a test that holds a handler.
const GATE: &str = "KEYWAY_TEST_GATE";

/// Runs `test`, or the plugin in the process that is one.
fn run(test: impl Future<Output = ()>) -> ExitCode {
    if is_plugin() {
        return Plugin::new("odd").run(Odd);
    }
    block_on(test);
    ExitCode::SUCCESS
}

/// Blocks until the test closes the connection, as a library does that knows nothing of async.
fn hang() -> Result<(), ProviderError> {
    let path = std::env::var_os(GATE).unwrap_or_default();
    std::io::copy(&mut UnixStream::connect(path)?, &mut std::io::sink())?;
    Ok(())
}

/// A provider whose id selects its behaviour.
struct Odd;

impl SecretsProvider for Odd {
    fn pattern(&self) -> Pattern {
        "odd/*".parse().unwrap()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let id = query.require_id()?;
        if id.as_str() == "odd/keeps-the-thread" {
            hang()?;
        }
        if id.as_str() == "odd/runs-a-command" {
            let script = "read -r _ _ _ _ group _ < /proc/$$/stat; echo $group > new; mv new group; sleep 60 & sleep 60";
            command("sh", query).args(["-c", script]).output().await?;
        }
        match id.as_str() {
            "odd/hangs" => blocking(hang).await?,
            "odd/panics" => blocking(|| panic!("canary-value")).await?,
            "odd/blocks" => blocking(|| Ok(())).await?,
            _ => {}
        }
        if id.as_str() == "odd/has-no-descriptor" {
            return Ok(vec![Envelope::new(id, without_descriptors(query).await?)]);
        }
        if id.as_str() == "odd/runs-a-command-that-kills-it" {
            let script = "exec 3>held; kill -KILL $PPID; sleep 60 & sleep 60";
            command("sh", query).args(["-c", script]).output().await?;
        }
        Ok(vec![Envelope::new(id, "value")])
    }
}

/// Returns the error of a command for which no descriptor is left, after another one that has all that it needs.
async fn without_descriptors(query: &Query) -> Result<String, ProviderError> {
    let limit = Rlimit {
        current: Some(64),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).or_internal("the limit cannot be set")?;
    let run = async || command("true", query).output().await;
    let held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let failed = run().await.err();
    drop(held);
    run().await?.require_success()?;
    let failed = failed.map(ProviderError::from);
    Ok(failed.map_or_else(|| "started".to_owned(), |error| error.message().to_owned()))
}

#[test]
fn a_command_without_a_descriptor_fails_and_the_next_one_runs() -> ExitCode {
    run(async {
        let name = "external::a_command_without_a_descriptor_fails_and_the_next_one_runs";
        let mut plugin = External::start(name, |_| {}).await;
        let log = plugin.log();
        for _ in 0..2 {
            assert_eq!(
                text(&plugin.daemon, "odd/has-no-descriptor").await,
                "cannot start `true`: too many files are open"
            );
        }
        let (status, log) = plugin.stop(log).await;
        assert!(status.success() && log.is_empty(), "{log:?}");
    })
}

#[test]
fn a_handler_that_keeps_the_thread_is_named_in_the_log() -> ExitCode {
    run(async {
        let name = "external::a_handler_that_keeps_the_thread_is_named_in_the_log";
        let home = Home::new();
        let path = home.path().join("gate");
        let gate = UnixListener::bind(&path).unwrap();
        let mut plugin = External::start(name, |command| {
            command.env(GATE, &path);
        })
        .await;
        assert_eq!(text(&plugin.daemon, "odd/quick").await, "value");
        let mut log = plugin.log();
        let meanwhile = tokio::task::spawn_blocking(move || {
            let is_warning = |line: &String| line.contains("watchdog");
            let warning = log.by_ref().map_while(Result::ok).find(is_warning);
            (warning.expect("a warning"), log)
        });
        let released = async {
            let (connection, _) = gate.accept().await.unwrap();
            let meanwhile = timeout(WAIT_LIMIT, meanwhile).await;
            drop(connection);
            meanwhile.expect("the log names the handler").unwrap()
        };
        let (value, (meanwhile, log)) =
            tokio::join!(text(&plugin.daemon, "odd/keeps-the-thread"), released);
        assert_eq!(value, "value");
        let (status, rest) = plugin.stop(log).await;
        assert!(status.success(), "{rest:?}");
        assert_eq!(rest.len(), 1, "{rest:?}");
        let name = r#"handler="get_secrets" query=odd/keeps-the-thread"#;
        let prefix = "WARN keyway_plugin_sdk::watchdog: handler";
        assert!(
            meanwhile.starts_with(prefix) && meanwhile.contains(name),
            "{meanwhile}"
        );
        assert!(
            rest[0].starts_with(prefix) && rest[0].contains(name),
            "{rest:?}"
        );
    })
}

/// Runs a plugin whose command sleeps, ends the plugin by `end`, and waits for the end of the command's group.
async fn command_ends(name: &str, end: impl AsyncFnOnce(External)) {
    let home = Home::new();
    let plugin = External::start(name, |command| {
        command.current_dir(home.path());
    })
    .await;
    let group = || {
        let text = std::fs::read_to_string(home.path().join("group")).ok()?;
        text.trim().parse().ok()
    };
    tokio::select! {
        found = plugin.daemon.get("odd/runs-a-command") => panic!("the command sleeps: {found:?}"),
        () = wait_until("the command runs", || group().is_some()) => {}
    }
    end(plugin).await;
    let group = group().expect("it was there");
    wait_until("the group ends", || in_group(group).is_empty()).await;
}

#[test]
fn a_command_ends_with_the_daemon_of_its_plugin() -> ExitCode {
    run(async {
        let name = "external::a_command_ends_with_the_daemon_of_its_plugin";
        command_ends(name, async |plugin| {
            let External {
                mut process,
                daemon,
                ..
            } = plugin;
            drop(daemon);
            let ended = tokio::task::spawn_blocking(move || process.wait());
            assert!(ended.await.unwrap().success());
        })
        .await;
    })
}

#[test]
fn a_command_ends_with_a_plugin_that_is_killed() -> ExitCode {
    run(async {
        let name = "external::a_command_ends_with_a_plugin_that_is_killed";
        command_ends(name, async |plugin| {
            plugin.process.signal(Signal::KILL);
        })
        .await;
    })
}

#[test]
fn a_command_ends_with_a_plugin_that_is_killed_while_it_starts() -> ExitCode {
    run(async {
        let name = "external::a_command_ends_with_a_plugin_that_is_killed_while_it_starts";
        for _ in 0..5 {
            let home = Home::new();
            let fifo = home.path().join("held");
            mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
            let mut held = pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
            let plugin = External::start(name, |command| {
                command.current_dir(home.path());
            })
            .await;
            let found = plugin.daemon.get("odd/runs-a-command-that-kills-it").await;
            assert!(found.is_err(), "{found:?}");
            // The FIFO ends with the last process of the command.
            let ended = timeout(WAIT_LIMIT, held.read_to_end(&mut Vec::new())).await;
            ended.expect("the command ends").unwrap();
        }
    })
}

#[test]
fn threads_that_are_stuck_are_counted_and_given_back() -> ExitCode {
    run(async {
        let name = "external::threads_that_are_stuck_are_counted_and_given_back";
        let home = Home::new();
        let path = home.path().join("gate");
        let gate = UnixListener::bind(&path).unwrap();
        let plugin = External::start(name, |command| {
            command.env(GATE, &path);
        })
        .await;
        let daemon = &plugin.daemon;
        for _ in 0..2 * MAX_BLOCKING_THREADS {
            let error = daemon.get("odd/panics").await.unwrap_err();
            assert_eq!(error.message(), "the plugin panicked in blocking work");
        }
        let mut held = Vec::new();
        while held.len() < MAX_BLOCKING_THREADS {
            let accept = async || timeout(WAIT_LIMIT, gate.accept()).await.expect("it begins");
            let hang = async || {
                let call = daemon.call("odd/hangs").within(Duration::from_secs(1));
                let error = call.get().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            };
            let accepted = async {
                for _ in 0..4 {
                    held.push(accept().await.unwrap());
                }
            };
            tokio::join!(accepted, hang(), hang(), hang(), hang());
        }
        let stuck = async || daemon.get("odd/blocks").await.unwrap_err().to_string();
        let is_stuck =
            |text: &String| text.contains("16 of 16 threads for blocking work are stuck");
        let text_of_error = stuck().await;
        assert!(is_stuck(&text_of_error), "{text_of_error}");
        assert_eq!(text(daemon, "odd/quick").await, "value");
        drop(held);
        // A thread that is given back serves the call that waits for it.
        timeout(WAIT_LIMIT, async {
            while daemon.get("odd/blocks").await.is_err() {}
        })
        .await
        .expect("the threads are given back");
    })
}
