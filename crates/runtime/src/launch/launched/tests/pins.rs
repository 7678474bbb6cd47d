//! Pins, and the descriptor that is checked and executed.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Condvar, Mutex};

use keyway_test_support::require;

use super::*;
use crate::config::Sha256;
use crate::launch::checksum;
use crate::launch::error::{Refusal, Shortage};
use crate::launch::executable::MAX_PINNED_LEN;
use crate::launch::memory::Use;

async fn pinned(mut spec: LaunchSpec) -> LaunchSpec {
    let checksum = checksum(&spec.executable).await.expect("a checksum");
    spec.sha256 = Some(checksum.sha256);
    spec
}

/// A copy of a program of the system, which other processes never have open for writing.
fn program(name: &str) -> (tempfile::TempDir, LaunchSpec) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("plugin");
    let installed = Command::new("install")
        .args(["-m", "755", name])
        .arg(&path)
        .status()
        .expect("install");
    assert!(installed.success());
    (directory, specification(path))
}

/// Replaces the file of `spec` by another script, as an installer does.
fn replace(directory: &tempfile::TempDir, spec: &LaunchSpec, text: &str) {
    let (_other, other) = script(text);
    let staged = directory.path().join("staged");
    std::fs::copy(&other.executable, &staged).expect("a copy");
    std::fs::rename(staged, &spec.executable).expect("replaced");
}

async fn refusal(spec: LaunchSpec) -> LaunchError {
    let spawner = Spawner::start().expect("a spawner");
    Launched::start(&spawner, spec).await.expect_err("refused")
}

fn sparse(len: u64) -> (tempfile::TempDir, LaunchSpec) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("large");
    let file = File::create(&path).expect("a file");
    file.set_len(len).expect("its length");
    file.set_permissions(PermissionsExt::from_mode(0o755))
        .expect("its mode");
    (directory, specification(path))
}

fn fifo() -> (tempfile::TempDir, LaunchSpec) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    (directory, specification(path))
}

#[tokio::test]
async fn l16_a_pinned_program_runs_from_a_copy_in_memory() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = program("/bin/sleep");
    let mut spec = pinned(spec).await;
    // Without an argument `sleep` ends at once, with a message.
    spec.argv0 = "a name".into();
    let text = output_of(launch(&spawner, spec).await).await;
    assert!(text.starts_with("a name: missing operand"), "{text}");
}

#[tokio::test]
async fn a_process_shows_the_path_of_its_executable_and_its_own_name() {
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, mut spec) = program("/usr/bin/yes");
    spec.argv0 = "a name".into();
    let path = spec.executable.canonicalize().expect("its path");
    let launched = launch(&spawner, spec).await;
    let of_process = |entry: &str| {
        PathBuf::from(format!(
            "/proc/{}/{entry}",
            launched.process.pid().as_raw_nonzero()
        ))
    };
    assert_eq!(
        std::fs::read_link(of_process("exe")).expect("its executable"),
        path
    );
    let command_line = std::fs::read(of_process("cmdline")).expect("its command line");
    assert_eq!(command_line, b"a name\0");
}

#[tokio::test]
async fn l16_another_file_than_the_pinned_one_is_refused_in_one_short_sentence() {
    let (directory, spec) = script("echo first >&2");
    let spec = pinned(spec).await;
    replace(&directory, &spec, "echo second >&2");
    let error = refusal(spec.clone()).await;
    assert_eq!(error.class(), LaunchErrorClass::Refused);
    assert!(
        matches!(&error, LaunchError::Refused(Refusal::Pin { expected, .. }) if Some(*expected) == spec.sha256),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "its executable is not the one that is pinned: run `keyway plugins trust script` if you replaced it"
    );
}

#[tokio::test]
async fn a_pinned_script_is_read_from_its_copy_by_its_interpreter() {
    let spawner = Spawner::start().expect("a spawner");
    for (first_line, shown) in [
        ("#!/bin/sh", "/bin/sh"),
        ("#!/usr/bin/env sh", "/usr/bin/env"),
        ("#! /bin/sh -e \t", "/bin/sh"),
    ] {
        let text = format!("{first_line}\necho \"$0 $#\" >&2\nls /proc/self/fd >&2\n");
        let (_directory, spec) = executable(&text);
        let checksum = checksum(&spec.executable).await.expect("a checksum");
        assert_eq!(checksum.interpreter.as_deref(), Some(shown));
        let text = output_of(launch(&spawner, pinned(spec).await).await).await;
        let mut lines = text.lines();
        let number = lines
            .next()
            .and_then(|line| line.strip_prefix("/proc/self/fd/"))
            .and_then(|line| line.strip_suffix(" 0"))
            .unwrap_or_else(|| panic!("{text}"));
        // It inherits its streams, its socket and its text; one more is the directory that `ls` reads.
        let inherited: Vec<&str> = lines
            .filter(|line| ["0", "1", "2", "3", number].contains(line))
            .collect();
        assert_eq!((inherited.len(), text.lines().count()), (5, 7), "{text}");
    }
}

#[tokio::test]
async fn a_pinned_python_script_runs() {
    let python = Path::new("/usr/bin/python3");
    if !require::has(&python.display().to_string(), python.exists()) {
        return;
    }
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = executable(
        "#!/usr/bin/python3 -B\nimport sys\nsys.stderr.write(f'{__name__} {len(sys.argv)}')\n",
    );
    let text = output_of(launch(&spawner, pinned(spec).await).await).await;
    assert_eq!(text, "__main__ 1");
}

#[tokio::test]
async fn the_hashed_bytes_are_executed_even_if_the_file_changes_meanwhile() {
    static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);
    /// Overwrites the file after it was hashed and before it is copied.
    fn overwrite(name: &str, purpose: Use) -> io::Result<OwnedFd> {
        let path = FILE.lock().expect("no panic").take().expect("once");
        std::fs::write(path, "#!/bin/sh\necho other >&2\n").expect("the file is overwritten");
        create_memory_file(name, purpose)
    }
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = script("echo first >&2");
    let spec = pinned(spec).await;
    *FILE.lock().expect("no panic") = Some(spec.executable.clone());
    let error = Launched::start_with(&spawner, spec, overwrite)
        .await
        .expect_err("refused");
    assert!(
        matches!(error, LaunchError::Refused(Refusal::Pin { .. })),
        "{error}"
    );
}

/// A machine with `vm.memfd_noexec = 2`.
fn no_executable_memory(name: &str, purpose: Use) -> io::Result<OwnedFd> {
    match purpose {
        Use::Execute => Err(io::Error::from_raw_os_error(libc::EACCES)),
        Use::Read => create_memory_file(name, purpose),
    }
}

/// A machine that lets executable memory files be created and refuses to execute them.
fn memory_without_execution(name: &str, _purpose: Use) -> io::Result<OwnedFd> {
    create_memory_file(name, Use::Read)
}

#[tokio::test]
async fn without_executable_memory_files_the_hashed_file_is_executed_and_scripts_still_run() {
    let spawner = Spawner::start().expect("a spawner");
    for create in [no_executable_memory, memory_without_execution] {
        let (_directory, mut spec) = program("/bin/sleep");
        spec.argv0 = "sleep".into();
        let launched = Launched::start_with(&spawner, pinned(spec).await, create).await;
        let text = output_of(launched.expect("launched")).await;
        assert!(text.contains("missing operand"), "{text}");
        let (_directory, spec) = script("echo script >&2");
        let launched = Launched::start_with(&spawner, pinned(spec).await, create).await;
        assert_eq!(output_of(launched.expect("launched")).await, "script\n");
    }
}

#[tokio::test]
async fn an_error_of_one_step_is_not_reported_as_that_of_another() {
    fn no_memory_files(_name: &str, _purpose: Use) -> io::Result<OwnedFd> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }
    let spawner = Spawner::start().expect("a spawner");
    let (_directory, spec) = program("/bin/true");
    let error = Launched::start_with(&spawner, pinned(spec).await, no_memory_files)
        .await
        .expect_err("no memory file");
    assert_eq!(
        error.class(),
        LaunchErrorClass::Shortage(Shortage::Descriptors)
    );
    assert!(
        error.to_string().contains("create a file in memory"),
        "{error}"
    );
    let (_directory, spec) = executable("#!/nowhere/interpreter\n");
    for spec in [pinned(spec.clone()).await, spec] {
        let error = refusal(spec).await;
        assert_eq!(error.class(), LaunchErrorClass::Failed);
        assert!(
            error
                .to_string()
                .contains("the interpreter that its first line names"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_above_the_limit_is_not_pinned_and_one_at_the_limit_is_hashed() {
    let (_directory, mut spec) = sparse(MAX_PINNED_LEN + 1);
    let error = checksum(&spec.executable).await.expect_err("too large");
    assert_eq!(error.class(), LaunchErrorClass::Refused);
    spec.sha256 = Some(Sha256([0; 32]));
    assert!(matches!(
        refusal(spec).await,
        LaunchError::Refused(Refusal::TooLarge { .. })
    ));
    let (_directory, mut spec) = sparse(MAX_PINNED_LEN);
    spec.sha256 = Some(Sha256([0; 32]));
    assert!(matches!(
        refusal(spec).await,
        LaunchError::Refused(Refusal::Pin { .. })
    ));
}

#[tokio::test]
async fn a_fifo_is_an_error_at_once() {
    let (_directory, mut spec) = fifo();
    let error = checksum(&spec.executable).await.expect_err("a FIFO");
    assert!(
        error.to_string().ends_with("is a FIFO, not a regular file"),
        "{error}"
    );
    for pin in [None, Some(Sha256([0; 32]))] {
        spec.sha256 = pin;
        let error = refusal(spec.clone()).await;
        assert_eq!(error.class(), LaunchErrorClass::Failed);
        assert!(
            error.to_string().ends_with("is a FIFO, not a regular file"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_others_can_write_is_refused_at_each_start_except_the_daemons_own() {
    let spawner = Spawner::start().expect("a spawner");
    let (directory, mut spec) = script("echo ran >&2");
    let link = directory.path().join("link");
    symlink(&spec.executable, &link).expect("a link");
    output_of(launch(&spawner, spec.clone()).await).await;
    let mode = |mode| std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(mode));
    mode(0o777).expect("the mode");
    let link = specification(link);
    for spec in [spec.clone(), pinned_unchecked(&spec), link] {
        let error = refusal(spec).await;
        assert_eq!(error.class(), LaunchErrorClass::Refused);
        let command = format!("run `chmod go-w {}`", directory.path().display());
        let text = keyway_local::with_causes(&error);
        assert!(text.contains(&command), "{text}");
    }
    checksum(&spec.executable)
        .await
        .expect_err("trust is refused as well");
    spec.is_built_in = true;
    assert_eq!(output_of(launch(&spawner, spec).await).await, "ran\n");
}

fn pinned_unchecked(spec: &LaunchSpec) -> LaunchSpec {
    LaunchSpec {
        sha256: Some(Sha256([0; 32])),
        ..spec.clone()
    }
}

#[tokio::test]
async fn a_file_that_is_still_written_is_waited_for_within_a_limit() {
    let spawner = Spawner::start().expect("a spawner");
    for (_directory, spec) in [script("echo ran >&2"), program("/bin/true")] {
        let writer = File::options()
            .append(true)
            .open(&spec.executable)
            .expect("a writer");
        let error = Launched::start(&spawner, spec.clone())
            .await
            .expect_err("busy");
        assert_eq!(error.class(), LaunchErrorClass::Busy, "{error}");
        let (launched, ()) = tokio::join!(Launched::start(&spawner, spec), async {
            sleep(Duration::from_millis(300)).await;
            drop(writer);
        });
        output_of(launched.expect("launched")).await;
    }
}

/// Blocks the creation of a memory file until the test opens the gate.
static GATE_IS_OPEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Opens the gate, also if the test fails: the runtime waits for the thread behind it.
struct OpenOnDrop;

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        *GATE_IS_OPEN.0.lock().expect("no panic") = true;
        GATE_IS_OPEN.1.notify_all();
    }
}

fn wait_at_the_gate(name: &str, purpose: Use) -> io::Result<OwnedFd> {
    let (is_open, opened) = &GATE_IS_OPEN;
    drop(opened.wait_while(is_open.lock().expect("no panic"), |is_open| !*is_open));
    create_memory_file(name, purpose)
}

#[tokio::test]
async fn a_slow_start_delays_no_other_and_ends_at_its_timeout() {
    let spawner = Spawner::start().expect("a spawner");
    let (_slow, slow) = script("echo slow >&2");
    let slow = pinned(slow).await;
    let (_quick, quick) = script("echo quick >&2");
    let _gate = OpenOnDrop;
    let mut starting = Box::pin(Launched::start_with(&spawner, slow, wait_at_the_gate));
    tokio::select! {
        biased;
        result = &mut starting => panic!("{result:?}"),
        launched = launch(&spawner, quick) => assert_eq!(output_of(launched).await, "quick\n"),
    }
    tokio::time::pause();
    // With a blocking task at work the clock moves only by `advance`.
    tokio::time::advance(LAUNCH_BOUND).await;
    let error = starting.await.expect_err("late");
    assert!(matches!(error, LaunchError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn large_pinned_files_wait_for_each_other_and_small_ones_do_not() {
    let spawner = Spawner::start().expect("a spawner");
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut permits = Vec::new();
    for _ in 0..(processors / 2).max(1) {
        permits.push(spawner.hash_large_file().await);
    }
    let (_directory, mut large) = sparse(LARGE_LEN + 1);
    large.sha256 = Some(Sha256([0; 32]));
    let mut starting = Box::pin(Launched::start(&spawner, large));
    let (_directory, small) = script("echo small >&2");
    let small = pinned(small).await;
    tokio::select! {
        biased;
        result = &mut starting => panic!("{result:?}"),
        launched = launch(&spawner, small) => assert_eq!(output_of(launched).await, "small\n"),
    }
    drop(permits);
    let error = starting.await.expect_err("refused");
    assert_eq!(error.class(), LaunchErrorClass::Refused);
}
