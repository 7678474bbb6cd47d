//! Standard descriptors that are closed, open for the other direction, or do not block because the caller shares them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};

use keyway_test_support::{Process, process, text, wait_until};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::ioctl_fionread;

use crate::support::Home;
use crate::support::script;

/// Runs `keyway LINE REDIRECTION` in a shell.
fn redirected(home: &Home, line: &str, redirection: &str) -> Output {
    let script = format!("exec {} {line} {redirection}", crate::support::KEYWAY);
    home.command("sh").args(["-c", &script]).output().unwrap()
}

#[test]
fn a_closed_standard_output_is_an_error_where_output_is_due() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    for line in [
        "get web/token",
        "get web/token --value",
        "get web/token --json",
        "ls",
        "plugins",
        "run --dry-run --json -- true",
        "version",
        "completions bash",
        "config",
        "--help",
    ] {
        for closed in [">&-", "1</dev/null", ">&- <&-"] {
            let output = redirected(&home, line, closed);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{line} {closed}: {stderr}");
            assert!(
                stderr.contains("stdout cannot be written: "),
                "{line} {closed}: {stderr}"
            );
        }
    }
    let silent = redirected(&home, "get web/token", ">&- 2>&-");
    assert_eq!(silent.status.code(), Some(1));
    let command = redirected(&home, "run -- true", ">&- <&- 2>&-");
    assert_eq!(command.status.code(), Some(0));
}

#[test]
fn a_closed_standard_input_is_an_error_where_input_is_read() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    for closed in ["<&-", "0>/dev/null"] {
        let output = redirected(&home, "set web/token --store s", closed);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{closed}: {stderr}");
        assert!(
            stderr.starts_with("keyway: stdin cannot be read: "),
            "{closed}: {stderr}"
        );
    }
    assert_eq!(redirected(&home, "ls", "<&-").status.code(), Some(0));
}

#[test]
fn a_closed_standard_error_changes_neither_output_nor_exit_code() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let output = redirected(&home, "get web/token", "2>&-");
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(0), b"dummy-token\n".to_vec())
    );
    let output = redirected(&home, "get nothing/here", "2>&-");
    assert_eq!((output.status.code(), output.stdout), (Some(3), Vec::new()));
}

/// Two connected sockets, of which the second does not block.
fn shared() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn duplicate(stream: &UnixStream) -> Stdio {
    OwnedFd::from(stream.try_clone().unwrap()).into()
}

fn is_nonblocking(file: impl AsFd) -> bool {
    fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
}

/// Returns `true` if nothing is left to read.
fn is_read(stream: &UnixStream) -> bool {
    ioctl_fionread(stream).unwrap() == 0
}

/// Waits until the process sleeps: in what it does here, only for a descriptor.
#[track_caller]
fn wait_until_asleep(process: &Process) {
    let pid = process.id().cast_signed();
    wait_until("the process to wait", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'S')
    });
}

#[test]
fn a_standard_output_that_does_not_block_gets_every_byte() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    for line in [
        &["get", "large/id", "--value"][..],
        &["get", "large/id", "--json"],
    ] {
        let (mut ours, theirs) = shared();
        let mut command = home.keyway(line);
        let mut process = Process::spawn(command.stdout(duplicate(&theirs)).stdin(Stdio::null()));
        drop(command);
        // The buffer of the socket is full long before the last byte.
        wait_until("a full buffer", || ioctl_fionread(&ours).unwrap() > 50_000);
        wait_until_asleep(&process);
        assert!(is_nonblocking(&theirs));
        drop(theirs);
        let mut read = Vec::new();
        ours.read_to_end(&mut read).unwrap();
        assert_eq!(process.wait().code(), Some(0), "{line:?}");
        assert_eq!(
            read.iter().filter(|byte| **byte == b'x').count() >> 20,
            1,
            "{line:?}"
        );
    }
}

#[test]
fn a_standard_error_that_does_not_block_gets_every_byte() {
    let home = Home::new();
    let (mut ours, mut theirs) = shared();
    let filler = vec![b'-'; 1 << 20];
    let mut filled = 0;
    while let Ok(n) = theirs.write(&filler) {
        filled += n;
    }
    let mut command = home.keyway(["get", "web/token"]);
    let mut process = Process::spawn(command.stderr(duplicate(&theirs)).stdin(Stdio::null()));
    drop(command);
    drop(theirs);
    wait_until_asleep(&process);
    let mut read = Vec::new();
    ours.read_to_end(&mut read).unwrap();
    assert_eq!(process.wait().code(), Some(5));
    assert!(text(&read[filled..]).starts_with("keyway: no daemon was reached at "));
}

#[test]
fn a_standard_input_that_does_not_block_is_waited_for() {
    let home = Home::new();
    let (mut ours, theirs) = shared();
    let mut command = home.keyway(["set", "web/late", "--store", "s", "--json"]);
    command.stdin(duplicate(&theirs)).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    drop(command);
    wait_until_asleep(&process);
    ours.write_all(b"la").unwrap();
    wait_until("the first part to be read", || is_read(&theirs));
    wait_until_asleep(&process);
    ours.write_all(b"te").unwrap();
    assert!(is_nonblocking(&theirs));
    drop((ours, theirs));
    let mut stored = String::new();
    process.stdout().read_to_string(&mut stored).unwrap();
    assert_eq!(process.wait().code(), Some(0));
    assert!(stored.contains(r#""bytes":4"#), "{stored}");
}

#[test]
fn a_full_device_is_an_error_that_does_not_wait() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = home
        .keyway(["ls"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}
