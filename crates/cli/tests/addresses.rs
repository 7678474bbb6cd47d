//! Where `keyway serve` listens, and which processes of other users and namespaces reach it.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// A user without any rights.
const OTHER_UID: u32 = 64_123;

/// How long a process may take to say what is waited for.
const BOUND: Duration = Duration::from_secs(20);

/// Whether the tools run here; says so if not, and fails where everything has to run.
fn can_run(needs: &str, command: &mut Command) -> bool {
    let runs = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !runs {
        let is_required =
            std::env::var_os("KEYWAY_REQUIRE_ALL").is_some_and(|required| required == "1");
        assert!(!is_required, "this test needs {needs}");
        eprintln!("skipped: needs {needs}");
    }
    runs
}

fn has_namespace(kind: &str) -> bool {
    can_run(
        &format!("unshare {kind}"),
        Command::new("unshare").args([kind, "true"]),
    )
}

fn has_other_user() -> bool {
    can_run("setpriv as root", &mut as_other_user("true"))
}

fn as_other_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={OTHER_UID}"))
        .arg(format!("--regid={OTHER_UID}"))
        .args(["--clear-groups", program]);
    command
}

/// A fresh home.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a temporary directory"));
        fs::create_dir(home.path("run")).expect("a runtime directory");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn config(&self, text: &str) {
        let path = self.path(".config/keyway/config.toml");
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Gives a command this home and nothing else.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.enter(&mut command);
        command
    }

    fn enter(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.0.path());
    }

    /// The daemon at its default addresses, in a network namespace whose abstract names are its own.
    fn serve_at_default_addresses(&self) -> Daemon {
        let mut command = self.command("unshare");
        command.args(["--net", KEYWAY, "serve"]);
        Daemon::start(command)
    }

    fn engine_sock(&self) -> PathBuf {
        self.path(".cache/docker-secrets-engine/engine.sock")
    }
}

/// A daemon that is ready.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// What was written to stderr until it was ready.
    before: String,
    ready: String,
}

impl Daemon {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Self {
            child,
            lines,
            before: String::new(),
            ready: String::new(),
        };
        while daemon.ready.is_empty() {
            let line = daemon.lines.recv_timeout(BOUND);
            let line = line.unwrap_or_else(|_| panic!("not ready: {}", daemon.before));
            match line.strip_prefix("keyway: ready at ") {
                Some(addresses) => daemon.ready = addresses.to_owned(),
                None => daemon.before += &(line + "\n"),
            }
        }
        daemon
    }

    /// Stops it and returns what it wrote to stderr since it was ready.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("sent");
        assert!(self.child.wait().expect("it ends").success());
        self.lines.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_an_address_the_daemon_listens_where_every_client_looks() {
    if !has_namespace("--net") {
        return;
    }
    let home = Home::new();
    let path = home.path("run/keyway/daemon.sock");
    let uid = rustix::process::geteuid().as_raw();
    let daemon = home.serve_at_default_addresses();
    assert_eq!(
        daemon.ready,
        format!(
            "{}, @docker-secrets-engine/{uid}/daemon.sock, {}",
            path.display(),
            home.engine_sock().display()
        )
    );
    for socket in [path, home.engine_sock()] {
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(socket.parent().expect("a directory")), 0o700);
    }
    let version = home.command(KEYWAY).arg("version").output().expect("runs");
    assert!(version.status.success(), "{}", stderr(&version));
    drop(daemon.stop());
    assert!(!home.engine_sock().exists());
}

#[test]
fn the_socket_of_another_engine_is_left_alone_whenever_it_came() {
    if !has_namespace("--net") {
        return;
    }
    let home = Home::new();
    fs::create_dir_all(home.engine_sock().parent().expect("a directory")).expect("made");
    let earlier = UnixListener::bind(home.engine_sock()).expect("listening");
    let daemon = home.serve_at_default_addresses();
    assert!(!daemon.ready.contains("engine.sock"), "{}", daemon.ready);
    assert!(
        daemon.before.contains("WARN") && daemon.before.contains("docker_socket = false"),
        "{}",
        daemon.before
    );
    daemon.stop();
    assert!(home.engine_sock().exists());
    drop(earlier);

    // What a dead engine left behind is replaced.
    let daemon = home.serve_at_default_addresses();
    assert!(daemon.ready.contains("engine.sock"), "{}", daemon.ready);
    fs::remove_file(home.engine_sock()).expect("removed");
    let _later = UnixListener::bind(home.engine_sock()).expect("listening");
    daemon.stop();
    assert!(home.engine_sock().exists());
}

#[test]
fn the_configuration_turns_default_addresses_off() {
    if !has_namespace("--net") {
        return;
    }
    let home = Home::new();
    home.config("abstract = false\ndocker_socket = false\n");
    let daemon = home.serve_at_default_addresses();
    let path = home.path("run/keyway/daemon.sock");
    assert_eq!(daemon.ready, path.display().to_string());
    assert!(!home.engine_sock().exists());
}

#[test]
fn the_runtime_directory_is_found_without_its_variable() {
    if !has_namespace("--mount") || !has_other_user() {
        return;
    }
    let home = Home::new();
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/user/0 && chmod 700 /run/user/0 && \
         exec unshare --net {KEYWAY} serve"
    );
    let mut command = home.command("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env_remove("XDG_RUNTIME_DIR");
    let daemon = Daemon::start(command);
    assert!(
        daemon.ready.starts_with("/run/user/0/keyway/daemon.sock, "),
        "{}",
        daemon.ready
    );
}

#[test]
fn an_abstract_name_of_another_user_is_an_error_in_the_log() {
    if !has_namespace("--net") || !has_other_user() {
        return;
    }
    let home = Home::new();
    let others = Home::new();
    open_to_all(home.0.path());
    open_to_all(others.0.path());
    fs::set_permissions(others.path("run"), Permissions::from_mode(0o777)).expect("a mode");
    let keyway = copy_for_all(&others);
    let script = format!(
        "setpriv --reuid={OTHER_UID} --regid={OTHER_UID} --clear-groups env HOME={others} {keyway} serve \
           --listen @docker-secrets-engine/0/daemon.sock 2>{log} & other=$!; \
         trap 'kill $other' EXIT; tries=0; \
         while ! grep -q ready {log}; do tries=$((tries+1)); test $tries -lt 400 || exit 9; sleep 0.05; done; \
         echo other is $other >&2; {KEYWAY} serve",
        others = others.path("run").display(),
        keyway = keyway.display(),
        log = home.path("log").display(),
    );
    let mut command = home.command("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", &script]);
    let daemon = Daemon::start(command);
    let pid = daemon
        .before
        .lines()
        .find_map(|line| line.strip_prefix("other is "))
        .expect("a pid");
    let error = daemon.before.lines().find(|line| line.contains("ERROR"));
    let error = error.unwrap_or_else(|| panic!("no error: {}", daemon.before));
    let holder = format!("process {pid} of uid {OTHER_UID}");
    assert!(
        error.contains("another user listens at") && error.contains(&holder),
        "{error}"
    );
    assert!(!daemon.ready.contains('@'), "{}", daemon.ready);
}

/// Lets every user pass a directory.
fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("a mode");
}

/// A copy of the program that every user may execute, wherever the build directory is.
fn copy_for_all(home: &Home) -> PathBuf {
    let copy = home.path("keyway");
    fs::copy(KEYWAY, &copy).expect("copied");
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("a mode");
    copy
}

#[test]
fn a_user_in_allow_uids_reaches_a_path_outside_of_the_default_directory() {
    if !has_other_user() {
        return;
    }
    let home = Home::new();
    open_to_all(home.0.path());
    home.config(&format!("allow_uids = [{OTHER_UID}]\n"));
    let socket = home.path("shared/made/daemon.sock");
    let mut command = home.command(KEYWAY);
    command.arg("serve").arg("--listen").arg(&socket);
    let daemon = Daemon::start(command);
    assert_eq!(mode(&socket), 0o666);
    assert_eq!(mode(&home.path("shared/made")), 0o711);
    assert_eq!(mode(&home.path("shared")), 0o711);

    let keyway = copy_for_all(&home);
    let version = |daemon_uid: Option<&str>| {
        let mut command = as_other_user(keyway.to_str().expect("a path"));
        home.enter(&mut command);
        command.arg("version").env("KEYWAY_SOCKET", &socket);
        if let Some(uid) = daemon_uid {
            command.env("KEYWAY_DAEMON_UID", uid);
        }
        let output = command.output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
    };
    let refused = version(None);
    assert!(refused.contains("another user's program"), "{refused}");
    let accepted = version(Some("0"));
    assert!(
        accepted.matches(env!("CARGO_PKG_VERSION")).count() == 2,
        "{accepted}"
    );
    assert!(daemon.before.is_empty(), "{}", daemon.before);
    drop(daemon);

    home.config("");
    let mut command = home.command(KEYWAY);
    command.arg("serve").arg("--listen").arg(&socket);
    let _daemon = Daemon::start(command);
    assert_eq!(mode(&socket), 0o600);
}

#[test]
fn a_closed_directory_that_keeps_allowed_users_out_is_named() {
    let home = Home::new();
    fs::create_dir(home.path("closed")).expect("made");
    fs::set_permissions(home.path("closed"), Permissions::from_mode(0o700)).expect("a mode");
    open_to_all(home.0.path());
    home.config(&format!("allow_uids = [{OTHER_UID}]\n"));
    let mut command = home.command(KEYWAY);
    command.args(["serve", "--listen", "closed/daemon.sock"]);
    let daemon = Daemon::start(command);
    assert_eq!(mode(&home.path("closed")), 0o700);
    let advice = format!("run `chmod o+x {}`", home.path("closed").display());
    assert!(
        daemon.before.contains("WARN") && daemon.before.contains(&advice),
        "{}",
        daemon.before
    );
}

/// What `keyway serve` says when it does not start.
fn refused(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(!output.status.success());
    stderr(&output)
}

#[test]
fn a_bare_name_in_a_directory_of_everyone_is_refused() {
    let home = Home::new();
    let shared = home.path("shared");
    fs::create_dir(&shared).expect("made");
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).expect("a mode");
    let mut command = home.command(KEYWAY);
    command
        .args(["serve", "--listen", "daemon.sock"])
        .current_dir(&shared);
    let text = refused(&mut command);
    assert!(text.contains("chmod go-w"), "{text}");
    assert!(!shared.join("daemon.sock").exists());
}

#[test]
fn a_path_that_is_too_long_is_refused_with_the_limit_and_a_shorter_place() {
    let home = Home::new();
    let long = home.path(&"x".repeat(120));
    // Once from the command line, and once from a default that is too long.
    let mut given = home.command(KEYWAY);
    given.arg("serve").arg("--listen").arg(&long);
    fs::create_dir(&long).expect("made");
    let mut default = home.command(KEYWAY);
    default.arg("serve").env("XDG_RUNTIME_DIR", &long);
    for command in [&mut given, &mut default] {
        let text = refused(command);
        for part in ["107 at most", "bytes", "/tmp/keyway-"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn an_unmapped_user_of_a_user_namespace_gets_no_daemon() {
    if !has_namespace("--user") {
        return;
    }
    let home = Home::new();
    let mut command = home.command("unshare");
    command.args(["--user", KEYWAY, "serve", "--listen", "@keyway-unmapped"]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("user namespace") && text.contains("unshare --map-current-user"),
        "{text}"
    );
}

#[test]
fn a_daemon_and_a_client_in_different_pid_namespaces_understand_each_other() {
    if !has_namespace("--pid") {
        return;
    }
    let home = Home::new();
    let socket = home.path("daemon.sock");
    let version = |inside: bool| {
        let mut command = if inside {
            let mut command = home.command("unshare");
            command.args(["--pid", "--fork", KEYWAY]);
            command
        } else {
            home.command(KEYWAY)
        };
        command.arg("version").env("KEYWAY_SOCKET", &socket);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let mut outside = home.command(KEYWAY);
    outside.arg("serve").arg("--listen").arg(&socket);
    let daemon = Daemon::start(outside);
    version(true);
    let log = daemon.stop();
    assert!(!log.contains("refused"), "{log}");

    let mut inside = home.command("unshare");
    inside
        .args(["--pid", "--fork", "--kill-child", KEYWAY])
        .arg("serve")
        .arg("--listen")
        .arg(&socket);
    let _daemon = Daemon::start(inside);
    version(false);
}
