use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use tokio::io::AsyncReadExt;

use super::*;
use crate::launch::{LaunchSpec, PinnedBy};
use crate::sys::child;

fn specification(executable: PathBuf) -> LaunchSpec {
    LaunchSpec {
        name: "script".parse().expect("a name"),
        pinned_by: PinnedBy::Trust,
        is_built_in: false,
        argv0: "script".into(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        executable,
        sha256: None,
    }
}

/// An executable file with `text`. It is written by another process: while this one holds a file open for writing, a
/// child forked by a neighbouring test holds it as well, and the kernel refuses to run it.
fn executable(text: &str) -> (tempfile::TempDir, LaunchSpec) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (draft, path) = (
        directory.path().join("draft"),
        directory.path().join("script"),
    );
    std::fs::write(&draft, text).expect("a draft");
    let installed = Command::new("install")
        .args(["-m", "755"])
        .args([&draft, &path])
        .status()
        .expect("install");
    assert!(installed.success());
    (directory, specification(path))
}

fn script(body: &str) -> (tempfile::TempDir, LaunchSpec) {
    executable(&format!("#!/bin/sh\n{body}\n"))
}

async fn launch(spawner: &Spawner, spec: LaunchSpec) -> Launched {
    Launched::start(spawner, spec).await.expect("launched")
}

async fn output_of(launched: Launched) -> String {
    let Launched {
        process,
        mut output,
        ..
    } = launched;
    let mut text = String::new();
    output
        .read_to_string(&mut text)
        .await
        .expect("standard error");
    process.exited().await.expect("the end is seen");
    process.reap().await.expect("reaped");
    text
}

#[tokio::test]
async fn l15_exactly_descriptor_3_is_inherited() {
    let spawner = Spawner::start().expect("a spawner");
    // A descriptor without close-on-exec, as a careless library would leave it.
    let careless = File::open("/dev/null").expect("a file");
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).expect("the flag");
    // The list is that of a grandchild: `ls` and its own descriptor for the directory are the rest.
    let (_directory, spec) = script(
        "ls /proc/self/fd >&2; (readlink /proc/$$/fd/3 /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2) >&2\nexit 0",
    );
    let text = output_of(launch(&spawner, spec).await).await;
    let lines: Vec<&str> = text.lines().collect();
    let (numbers, targets) = lines.split_at(lines.len() - 4);
    assert_eq!(
        numbers,
        ["0", "1", "2", "3", "4"],
        "4 is what `ls` reads: {text}"
    );
    assert!(targets[0].starts_with("socket:"), "{text}");
    assert_eq!(targets[1], "/dev/null");
    // Its output is read, whichever stream it uses.
    assert!(targets[2].starts_with("pipe:"), "{text}");
    assert_eq!(targets[2], targets[3]);
}

#[tokio::test]
async fn l13_the_environment_is_that_of_the_specification() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = script("env >&2");
    let text = output_of(launch(&spawner, spec).await).await;
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    // The shell itself adds PWD.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["PATH"]);
}

#[tokio::test]
async fn l09_a_signal_that_the_daemon_ignores_still_reaches_a_plugin() {
    child::ignore_user_signal();
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = script("grep SigIgn /proc/self/status >&2");
    let text = output_of(launch(&spawner, spec).await).await;
    let mask = text.trim_start_matches("SigIgn:").trim();
    let mask = u64::from_str_radix(mask, 16).expect("a mask of signals");
    // The bits above are real-time signals, which the C library keeps for itself.
    assert_eq!(mask & 0x7fff_ffff, 0, "{text}");
}

#[tokio::test]
async fn l09_stop_is_graceful_first() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) =
        script("trap 'echo bye >&2; exit 7' INT; echo ready >&2; while :; do sleep 0.01; done");
    let Launched {
        process,
        mut output,
        ..
    } = launch(&spawner, spec).await;
    let mut ready = [0; 6];
    output
        .read_exact(&mut ready)
        .await
        .expect("the trap is set");
    let ended = process
        .stop(Duration::from_secs(30))
        .await
        .expect("stopped");
    assert_eq!((ended.status.code(), ended.killed), (Some(7), false));
}

#[tokio::test]
async fn l09_stop_is_forced_when_ignored_and_takes_the_whole_group() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = script("trap '' INT TERM; sleep 600 & echo $! >&2; wait");
    let Launched {
        process,
        mut output,
        ..
    } = launch(&spawner, spec).await;
    let mut first = [0; 1];
    output
        .read_exact(&mut first)
        .await
        .expect("the helper runs");
    let ended = process
        .stop(Duration::from_millis(20))
        .await
        .expect("stopped");
    assert!(ended.killed);
    // The helper held the other end of standard error: its end is the helper's end.
    let mut rest = String::new();
    output
        .read_to_string(&mut rest)
        .await
        .expect("standard error");
    let helper = format!("{}{rest}", char::from(first[0]));
    assert!(helper.trim().parse::<u32>().is_ok(), "{helper}");
}

#[tokio::test]
async fn l07_a_dropped_process_is_killed_and_reaped() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = script("sleep 600");
    let Launched {
        process,
        mut output,
        ..
    } = launch(&spawner, spec).await;
    let pid = process.pid();
    drop(process);
    output
        .read_to_string(&mut String::new())
        .await
        .expect("every holder of the pipe is gone");
    spawner.finish().await;
    assert!(
        !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists(),
        "still there"
    );
}

#[tokio::test]
async fn a_file_that_cannot_run_is_an_error_with_advice() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = executable("no program\n");
    let message = Launched::start(&spawner, spec)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        message.contains("neither a program for this machine nor a script"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_stays_missing_is_an_error() {
    let spawner = Spawner::start().expect("a spawner");
    let error = Launched::start(&spawner, specification("/nowhere/plugin".into()))
        .await
        .expect_err("refused");
    assert_eq!(
        keyway_local::with_causes(&error),
        "/nowhere/plugin cannot be read: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_file_that_is_being_replaced_is_waited_for() {
    let spawner = Spawner::start().expect("a spawner");
    let (directory, spec) = script("echo replaced >&2");
    let aside = directory.path().join("aside");
    std::fs::rename(&spec.executable, &aside).expect("moved away");
    let path = spec.executable.clone();
    let back = async {
        sleep(Duration::from_millis(100)).await;
        std::fs::rename(&aside, &path).expect("moved back");
    };
    let (launched, ()) = tokio::join!(launch(&spawner, spec), back);
    assert_eq!(output_of(launched).await, "replaced\n");
}

mod pins;
