//! The addresses of `keyway serve`: defaults, modes and refusals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_test_support::{Daemon, require, set_mode, text};

use crate::support::{Home, KEYWAY};

/// A command in a home that names no address: with a runtime directory and without `KEYWAY_SOCKET`.
pub(crate) fn without_address(home: &Home, program: &str) -> Command {
    let mut command = home.command(program);
    command
        .env_remove("KEYWAY_SOCKET")
        .env("XDG_RUNTIME_DIR", home.create_dir("run"));
    command
}

/// The daemon at its default addresses, in a network namespace whose abstract names are its own. `None` if there are no
/// namespaces.
fn serve_at_default_addresses(home: &Home) -> Option<Daemon> {
    has_namespace("--net").then(|| {
        let mut command = without_address(home, "unshare");
        Daemon::start(command.args(["--net", KEYWAY, "serve"]))
    })
}

/// Returns `true` if this process may make a namespace of this kind.
pub(crate) fn has_namespace(kind: &str) -> bool {
    let mut unshare = Command::new("unshare");
    require::can_run(&format!("unshare {kind}"), unshare.args([kind, "true"]))
}

fn engine_sock(home: &Home) -> PathBuf {
    home.join(".cache/docker-secrets-engine/engine.sock")
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn without_an_address_the_daemon_listens_at_the_default_addresses_of_clients() {
    let home = Home::new();
    let Some(daemon) = serve_at_default_addresses(&home) else {
        return;
    };
    let path = home.join("run/keyway/daemon.sock");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(
        daemon.addresses(),
        format!(
            "{}, @docker-secrets-engine/{uid}/daemon.sock, {}",
            path.display(),
            engine_sock(&home).display()
        )
    );
    for socket in [path, engine_sock(&home)] {
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(socket.parent().unwrap()), 0o700);
    }
    let version = without_address(&home, KEYWAY).arg("version").output();
    let version = version.unwrap();
    assert!(version.status.success(), "{}", text(&version.stderr));
    assert!(daemon.stop().0.success());
    assert!(!engine_sock(&home).exists());
}

#[test]
fn a_socket_of_another_daemon_is_not_replaced_or_removed() {
    let home = Home::new();
    fs::create_dir_all(engine_sock(&home).parent().unwrap()).unwrap();
    let earlier = UnixListener::bind(engine_sock(&home)).unwrap();
    let Some(daemon) = serve_at_default_addresses(&home) else {
        return;
    };
    assert!(!daemon.addresses().contains("engine.sock"));
    let log = daemon.log_before_ready();
    assert!(
        log.contains("WARN") && log.contains("docker_socket = false"),
        "{log}"
    );
    assert!(daemon.stop().0.success());
    assert!(engine_sock(&home).exists());
    drop(earlier);

    // The socket of a dead daemon is replaced.
    let daemon = serve_at_default_addresses(&home).unwrap();
    assert!(daemon.addresses().contains("engine.sock"));
    fs::remove_file(engine_sock(&home)).unwrap();
    let _later = UnixListener::bind(engine_sock(&home)).unwrap();
    assert!(daemon.stop().0.success());
    assert!(engine_sock(&home).exists());
}

#[test]
fn the_configuration_disables_default_addresses() {
    let home = Home::new();
    home.configure("abstract = false\ndocker_socket = false\n");
    let Some(daemon) = serve_at_default_addresses(&home) else {
        return;
    };
    let path = home.join("run/keyway/daemon.sock");
    assert_eq!(daemon.addresses(), path.to_str().unwrap());
    assert!(!engine_sock(&home).exists());
}

#[test]
fn the_runtime_directory_is_found_without_its_variable() {
    if !has_namespace("--mount") || !require::has_root() {
        return;
    }
    let home = Home::new();
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/user/0 && chmod 700 /run/user/0 && \
         exec unshare --net {KEYWAY} serve"
    );
    let mut command = without_address(&home, "unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env_remove("XDG_RUNTIME_DIR");
    let daemon = Daemon::start(&mut command);
    let addresses = daemon.addresses();
    assert!(
        addresses.starts_with("/run/user/0/keyway/daemon.sock, "),
        "{addresses}"
    );
}

/// Standard error of a `keyway serve` that does not start.
#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    text(&output.stderr)
}

#[test]
fn a_relative_name_in_a_world_writable_directory_is_refused() {
    let home = Home::new();
    let shared = home.create_dir("shared");
    set_mode(&shared, 0o777);
    let mut command = home.keyway(["serve", "--listen", "daemon.sock"]);
    let message = refused(&command.current_dir(&shared).output().unwrap());
    assert!(message.contains("chmod go-w"), "{message}");
    assert!(!shared.join("daemon.sock").exists());
}

#[test]
fn a_path_that_is_too_long_is_refused_with_the_limit_and_a_shorter_path() {
    let home = Home::new();
    let long = home.create_dir("x".repeat(120));
    // Once from the command line, and once from a default that is too long.
    let mut given = home.keyway(["serve", "--listen"]);
    given.arg(&long);
    let mut default = without_address(&home, KEYWAY);
    default.arg("serve").env("XDG_RUNTIME_DIR", &long);
    for command in [&mut given, &mut default] {
        let message = refused(&command.output().unwrap());
        for part in ["107 at most", "bytes", "/tmp/keyway-"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_socket_file_that_was_removed_is_made_again() {
    let home = Home::new();
    home.set("web/token", b"dummy-token");
    let socket = home.join("run/keyway/daemon.sock");
    let mut command = home.keyway(["serve", "--socket"]);
    command.arg(&socket).env_remove("KEYWAY_SOCKET");
    let mut daemon = Daemon::start(&mut command);
    for _ in 0..2 {
        // As logout does.
        fs::remove_dir_all(home.join("run")).unwrap();
        daemon.expect("socket file was removed and made again");
        let line = format!("--socket {} get web/token --value", socket.display());
        let output = home.run(&line, b"");
        assert_eq!(output.stdout, b"dummy-token", "{}", home.show(&output));
    }
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn a_daemon_ends_whose_socket_file_cannot_be_made_again() {
    let home = Home::new();
    let socket = home.join("run/daemon.sock");
    let mut command = home.keyway(["serve", "--socket"]);
    command.arg(&socket).env_remove("KEYWAY_SOCKET");
    let daemon = Daemon::start(&mut command);
    fs::remove_dir_all(home.join("run")).unwrap();
    fs::write(home.join("run"), "a file in its place").unwrap();
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.contains("cannot be made again: the daemon stops"),
        "{log}"
    );
}
