//! `keyway serve` below a service manager: notifications, passed sockets and SIGHUP.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use keyway_test_support::{Daemon, WAIT_LIMIT};
use rustix::process::Signal;

use crate::support::{Home, KEYWAY};

/// The receiver of notifications.
struct ServiceManager(UnixDatagram);

impl ServiceManager {
    fn new(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.join("notify")).unwrap();
        socket.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        Self(socket)
    }

    /// Waits for a notification that contains `line`, and returns it.
    fn expect(&self, line: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let mut message = [0; 256];
            let n_read = self.0.recv(&mut message).unwrap_or_else(|error| {
                panic!("no {line}: {error}; received {seen:?}");
            });
            let message = String::from_utf8_lossy(&message[..n_read]).into_owned();
            if message.lines().any(|found| found.starts_with(line)) {
                return message;
            }
            seen.push(message);
        }
    }
}

fn serve(home: &Home) -> Command {
    let mut command = home.keyway(["serve", "--socket"]);
    command
        .arg(home.socket())
        .env_remove("KEYWAY_SOCKET")
        .env("NOTIFY_SOCKET", home.join("notify"));
    command
}

#[test]
fn systemd_receives_ready_the_number_of_plugins_reloads_and_stopping() {
    let home = Home::new();
    let manager = ServiceManager::new(&home);
    let daemon = Daemon::start(&mut serve(&home));
    manager.expect("READY=1");
    manager.expect("STATUS=1 plugin running");
    daemon.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.expect("READY=1");
    daemon.stop();
    let stopping = manager.expect("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
}

#[test]
fn a_watchdog_of_systemd_is_fed_until_the_daemon_stops() {
    let home = Home::new();
    let manager = ServiceManager::new(&home);
    let daemon = Daemon::start(serve(&home).env("WATCHDOG_USEC", "200000"));
    for _ in 0..3 {
        manager.expect("WATCHDOG=1");
    }
    daemon.stop();
}

/// Starts the daemon with these descriptors as a service manager passes them: from descriptor 3, for the pid of the process.
fn activated(home: &Home, first: OwnedFd, second: OwnedFd) -> Command {
    let script = r#"exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$ exec "$@""#;
    let mut command = home.command("sh");
    command
        .args(["-c", script, "sh", KEYWAY, "serve"])
        .env_remove("KEYWAY_SOCKET")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "keyway:keyway")
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second));
    command
}

#[test]
fn passed_sockets_take_the_place_of_addresses_and_stay_behind() {
    let home = Home::new();
    home.set("web/token", b"not-a-real-token");
    let path = home.join("passed.sock");
    let name = format!("keyway-test-{}-passed", std::process::id());
    let at_path = UnixListener::bind(&path).unwrap();
    let at_name = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // A client that connects before the daemon starts waits for it.
    let mut early = UnixStream::connect(&path).unwrap();
    early.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    early
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    early.shutdown(Shutdown::Write).unwrap();
    let copies = (at_path.try_clone().unwrap(), at_name.try_clone().unwrap());
    let daemon = Daemon::start(&mut activated(&home, copies.0.into(), copies.1.into()));
    let mut health = String::new();
    early.read_to_string(&mut health).unwrap();
    assert!(health.ends_with("\r\n\r\nok"), "{health}");
    let addresses = daemon.addresses();
    assert!(
        addresses.starts_with(&format!("{}, @{name}", path.display())),
        "{addresses}"
    );
    for address in [path.to_str().unwrap(), &format!("@{name}")] {
        let output = home.run(&format!("--socket {address} get web/token --value"), b"");
        assert_eq!(output.stdout, b"not-a-real-token", "{}", home.show(&output));
    }
    let plugins = home.run(&format!("--socket {} plugins --json", path.display()), b"");
    let plugins: serde_json::Value = serde_json::from_slice(&plugins.stdout).unwrap();
    let pid = plugins[0]["pid"].as_u64().expect("a pid");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("LISTEN_"));
    daemon.stop();
    UnixStream::connect(&path).expect("the path is the service manager's");
}

#[test]
fn variables_for_another_process_pass_no_sockets() {
    let home = Home::new();
    let mut command = home.keyway(["serve"]);
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let daemon = Daemon::start(&mut command);
    assert_eq!(daemon.addresses(), home.socket().to_str().unwrap());
    daemon.stop();
    let mut command = home.keyway(["serve"]);
    command.env("LISTEN_FDS", "2").env_remove("LISTEN_PID");
    let daemon = Daemon::start(&mut command);
    assert_eq!(daemon.addresses(), home.socket().to_str().unwrap());
    daemon.stop();
}

#[test]
fn a_passed_descriptor_that_does_not_listen_is_an_error_of_configuration() {
    let home = Home::new();
    let listener = UnixListener::bind(home.join("passed.sock")).unwrap();
    let (connected, _peer) = UnixStream::pair().unwrap();
    let error = Daemon::try_start(
        &mut activated(&home, listener.into(), connected.into()),
        |_| {},
    )
    .expect_err("a connected socket");
    assert_eq!(error.status.and_then(|status| status.code()), Some(2));
    insta::assert_snapshot!(error.log);
}

#[test]
fn status_shows_the_daemon_and_stop_returns_when_its_process_has_ended() {
    let home = Home::new();
    let mut daemon = home.serve(&[]);
    let output = home.run("status --json", b"");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pid"], daemon.id());
    assert_eq!(status["addresses"][0], home.socket().to_str().unwrap());
    assert_eq!(status["is_replaced"], false);
    assert_eq!(
        status["executable"],
        std::fs::canonicalize(KEYWAY).unwrap().to_str().unwrap()
    );
    assert_eq!(status["plugins"][0]["name"], "file");
    let text = String::from_utf8(home.run("status", b"").stdout).unwrap();
    assert!(
        text.contains(&format!("process {} since 20", daemon.id())),
        "{text}"
    );
    assert!(
        text.contains("\naudit log   off\n") && text.contains("\nlistens at  "),
        "{text}"
    );
    let stopped = home.run("stop", b"");
    let expected = format!("stopped the daemon, process {}\n", daemon.id());
    assert_eq!(String::from_utf8(stopped.stdout).unwrap(), expected);
    assert_eq!(daemon.try_wait().and_then(|status| status.code()), Some(0));
    for line in ["status", "stop"] {
        let output = home.run(line, b"");
        assert_eq!(output.status.code(), Some(5), "{}", home.show(&output));
    }
}

#[test]
fn status_says_that_the_program_of_the_daemon_was_replaced() {
    let home = Home::new();
    let program = home.join("keyway");
    std::fs::copy(KEYWAY, &program).unwrap();
    let mut command = home.command(&program);
    let daemon = Daemon::start(command.arg("serve"));
    let update = home.join("update");
    std::fs::copy(KEYWAY, &update).unwrap();
    std::fs::rename(&update, &program).unwrap();
    let text = String::from_utf8(home.run("status", b"").stdout).unwrap();
    assert!(text.contains("was replaced: restart it"), "{text}");
    daemon.stop();
}
