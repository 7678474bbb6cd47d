//! Commands as real processes.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyway_plugin_sdk::{
    Command, CommandError, ErrorKind, Output, Pattern, ProviderError, Query, command,
};
use keyway_test_support::process::{children, in_group, stat};
use keyway_test_support::wait::asynchronous::wait_until;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_secs(60);

fn query(timeout: Duration) -> Query {
    Query::new(Pattern::everything(), timeout)
}

fn shell(script: &str, timeout: Duration) -> Command {
    command("sh", &query(timeout)).args(["-c", script])
}

/// A script that writes its process id and its group to a file first.
struct Script {
    directory: TempDir,
    text: String,
}

impl Script {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "read -r _ _ _ _ group _ < /proc/$$/stat; echo $$ $group > new; mv new ids; {text}"
        );
        Self { directory, text }
    }

    fn run(&self, timeout: Duration) -> impl Future<Output = Result<Output, CommandError>> + use<> {
        shell(&self.text, timeout)
            .current_dir(self.directory.path())
            .output()
    }

    /// The process id and the group of the script, once it has started.
    fn ids(&self) -> Option<(i32, i32)> {
        let text = fs::read_to_string(self.directory.path().join("ids")).ok()?;
        let (pid, group) = text.trim().split_once(' ')?;
        Some((pid.parse().ok()?, group.parse().ok()?))
    }

    /// Waits until no process of the group is left and the script was reaped.
    async fn ended(&self) {
        let (pid, group) = self.ids().expect("the script was started");
        assert_ne!(stat(std::process::id().cast_signed()).unwrap().group, group);
        wait_until("the group ends", || in_group(group).is_empty()).await;
        wait_until("the script is reaped", || stat(pid).is_none()).await;
    }
}

#[tokio::test]
async fn a_command_has_arguments_environment_directory_and_input() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"cat; printf '%s %s %s' "$1" "$NAME" "$(pwd)"; echo warning >&2; exit 0"#;
    let output = shell(script, MINUTE)
        .args(["sh", "a b"])
        .env("NAME", "value")
        .current_dir(directory.path())
        .input("from standard input\n")
        .output()
        .await
        .unwrap();
    let path = fs::canonicalize(directory.path()).unwrap();
    let expected = format!("from standard input\na b value {}", path.display());
    assert_eq!(output.stdout.expose(), expected.as_bytes());
    assert_eq!(output.stderr.expose(), b"warning\n");
    assert_eq!(output.first_line().expose(), b"from standard input");
    assert!(output.require_success().is_ok());
}

#[tokio::test]
async fn standard_input_is_null_and_unread_input_is_discarded() {
    let output = shell("cat; echo end", MINUTE).output().await.unwrap();
    assert_eq!(output.trimmed().expose(), b"end");
    let large = vec![b'x'; 1 << 20];
    let unread = shell("exit 0", MINUTE).input(large).output().await;
    assert!(unread.unwrap().status.success());
}

#[tokio::test]
async fn at_the_deadline_the_group_is_killed_grandchildren_included() {
    let script = Script::new("trap '' TERM; sleep 60 & sleep 60; sleep 60");
    let started = Instant::now();
    let error = script.run(Duration::from_secs(2)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    assert!(
        error.to_string().starts_with("`sh` did not end within "),
        "{error}"
    );
    assert_eq!(ProviderError::from(error).kind(), ErrorKind::TimedOut);
    script.ended().await;
}

#[tokio::test]
async fn a_command_whose_caller_has_gone_is_killed() {
    let script = Script::new("trap '' TERM HUP INT; sleep 60 & sleep 60; sleep 60");
    {
        let running = script.run(MINUTE);
        tokio::select! {
            output = running => panic!("the script sleeps: {output:?}"),
            () = wait_until("the script starts", || script.ids().is_some()) => {}
        }
    }
    script.ended().await;
}

/// Finds the guardian by its script. Other tests of this process share it.
fn guardian() -> Option<Pid> {
    let own = std::process::id().cast_signed();
    let mut children = children(own).into_iter();
    let is_guardian = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("while read -r change group")
    };
    children.find(is_guardian).and_then(Pid::from_raw)
}

#[tokio::test]
async fn a_guardian_that_was_killed_is_replaced() {
    let run = || shell("echo value", MINUTE).output();
    run().await.unwrap();
    let first = guardian().expect("started with the first command");
    kill_process(first, Signal::KILL).unwrap();
    wait_until("it ends", || guardian() != Some(first)).await;
    run().await.unwrap();
    let second = guardian().expect("started with the next command");
    assert_ne!(second, first);
}

#[tokio::test]
async fn a_command_whose_deadline_has_passed_is_not_started() {
    let script = Script::new("exit 0");
    let error = script.run(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    assert_eq!(script.ids(), None);
}

#[tokio::test]
async fn a_child_that_keeps_standard_output_open_does_not_hold_the_call() {
    let in_the_group = Script::new("sleep 60 & echo value");
    let output = in_the_group.run(MINUTE).await.unwrap();
    assert_eq!(output.first_line().expose(), b"value");
    in_the_group.ended().await;

    let started = Instant::now();
    let outside = Script::new("setsid sleep 30 & echo value");
    let output = outside.run(MINUTE).await.unwrap();
    assert_eq!(output.first_line().expose(), b"value");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn output_is_complete_up_to_its_limit_and_a_flood_is_killed() {
    let all = shell("head -c 100000 /dev/zero", MINUTE).max_output(100_000);
    assert_eq!(all.output().await.unwrap().stdout.len(), 100_000);
    for script in ["head -c 100001 /dev/zero", "yes", "yes & wait"] {
        let script = Script::new(script);
        let flood = shell(&script.text, MINUTE)
            .current_dir(script.directory.path())
            .max_output(100_000);
        let error = flood.output().await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` wrote more than 100000 bytes");
        assert_eq!(ProviderError::from(error).kind(), ErrorKind::Internal);
        script.ended().await;
    }
}

#[tokio::test]
async fn of_standard_error_the_end_is_kept() {
    let script = "head -c 1000000 /dev/zero >&2; echo 'it is locked' >&2; echo value";
    let output = shell(script, MINUTE).output().await.unwrap();
    assert_eq!(output.first_line().expose(), b"value");
    assert_eq!(output.stderr.len(), 16 * 1024);
    assert!(output.stderr_contains("it is locked"));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    fs::write(&plain, "not a program").unwrap();
    let start = async |program: &Path| {
        let error = command(program, &query(MINUTE)).output().await.unwrap_err();
        let error = ProviderError::from(error);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        error.to_string()
    };
    let missing = PathBuf::from("no-such-program");
    assert_eq!(
        start(&missing).await,
        "cannot start `no-such-program`: not found"
    );
    assert_eq!(
        start(&plain).await,
        format!("cannot start `{}`: permission denied", plain.display())
    );
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        start(&plain).await,
        format!(
            "cannot start `{}`: not a program of this machine or a script with `#!`",
            plain.display()
        )
    );
    let busy = fs::File::options().write(true).open(&plain).unwrap();
    assert_eq!(
        start(&plain).await,
        format!("cannot start `{}`: executable file busy", plain.display())
    );
    drop(busy);
}

#[tokio::test]
async fn exit_statuses_are_errors_with_their_meaning() {
    let status = async |script: &str| {
        let output = shell(script, MINUTE).output().await.unwrap();
        output.require_success().unwrap_err().to_string()
    };
    assert_eq!(status("exit 3").await, "`sh` ended with exit status 3");
    assert_eq!(
        status("no-such-program").await,
        "`sh` ended with exit status 127: a program was not found"
    );
    assert_eq!(
        status("kill -SEGV $$").await,
        "`sh` was killed by signal 11"
    );
}

#[tokio::test]
async fn twenty_commands_that_hang_do_not_delay_another() {
    let scripts: Vec<_> = (0..20).map(|_| Script::new("sleep 60")).collect();
    let mut hanging = JoinSet::new();
    for script in &scripts {
        hanging.spawn(script.run(MINUTE));
    }
    for script in &scripts {
        wait_until("the script starts", || script.ids().is_some()).await;
    }
    let good = shell("echo value", Duration::from_secs(20)).output().await;
    assert_eq!(good.unwrap().first_line().expose(), b"value");
    hanging.shutdown().await;
    for script in &scripts {
        script.ended().await;
    }
}

#[tokio::test]
async fn a_group_whose_leader_was_reaped_is_not_used_again() {
    let group = async || {
        let script = "read -r _ _ _ _ group _ < /proc/$$/stat; echo $group";
        let output = shell(script, MINUTE).output().await.unwrap();
        let text = String::from_utf8(output.stdout.expose().to_vec()).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let first = group().await;
    // Another part of the process, such as a C library, reaps whatever child has ended.
    let reaped = waitpid(Pid::from_raw(first), WaitOptions::NOHANG);
    assert!(reaped.is_ok(), "{reaped:?}");
    for _ in 0..3 {
        assert_ne!(group().await, first);
    }
}

#[tokio::test]
async fn a_program_that_closes_its_output_or_stops_itself_ends_at_the_deadline() {
    for text in ["exec >&- 2>&-; sleep 60", "kill -STOP $$; sleep 60"] {
        let script = Script::new(text);
        let error = script.run(Duration::from_secs(2)).await.unwrap_err();
        assert!(
            matches!(error, CommandError::TimedOut { .. }),
            "{text}: {error}"
        );
        script.ended().await;
    }
}

#[tokio::test]
async fn a_hundred_commands_at_once_have_their_own_output() {
    let mut running = JoinSet::new();
    for n in 0..100 {
        running.spawn(async move {
            let output = shell(&format!("cat; echo {n}"), MINUTE).input(format!("{n} "));
            (n, output.output().await)
        });
    }
    while let Some(ended) = running.join_next().await {
        let (n, output) = ended.unwrap();
        let line = output.unwrap().first_line();
        assert_eq!(line.expose(), format!("{n} {n}").as_bytes());
    }
}
