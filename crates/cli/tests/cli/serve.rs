//! `keyway serve` as a service: readiness, responses over plain HTTP, and a log without values.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use keyway_test_support::{Daemon, Process, WAIT_LIMIT, eventually, http};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::support::Home;

#[test]
fn a_fresh_home_serves_requests_over_plain_http() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let socket = home.socket();
    assert_eq!(daemon.addresses(), socket.to_str().unwrap());
    assert_eq!(daemon.log_before_ready(), "");
    home.set("web/token", b"not-a-real-token");
    let found = home.query("web/*");
    assert!(found.starts_with("HTTP/1.1 200 "), "{found}");
    assert!(
        found.contains(r#""id":"web/token","value":"bm90LWEtcmVhbC10b2tlbg==","provider":"file""#),
        "{found}"
    );
    let health = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(http::exchange(&socket, health).ends_with("\r\n\r\nok"));
    let version = home.post("/health.v1.VersionService/GetVersion", "{}");
    assert!(
        version.contains(concat!(r#""version":"v"#, env!("CARGO_PKG_VERSION"), '"')),
        "{version}"
    );
    for (pattern, status, code) in [
        ("web/other", "404", "not_found"),
        ("a//b", "400", "invalid_argument"),
    ] {
        let response = home.query(pattern);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")) && response.contains(code),
            "{response}"
        );
    }
    let (status, log) = daemon.stop();
    assert_eq!((status.code(), log.as_str()), (Some(0), ""));
    assert!(!socket.exists());
}

/// `printf ... | nc -U` closes its sending half and reads the response.
#[test]
fn a_client_that_closes_its_sending_half_receives_the_response() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    home.set("web/token", b"not-a-real-token");
    // The end may be read before or after the handler has started, and after the response was written.
    let health = std::iter::repeat_n("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 500);
    for request in health.chain([
        "POST /resolver.v1.ResolverService/GetSecrets HTTP/1.1\r\nHost: x\r\n\
         Content-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"pattern\":\"web/token\"}",
    ]) {
        let mut stream = UnixStream::connect(home.socket()).unwrap();
        stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with("HTTP/1.1 200 OK"),
            "{request}: {response}"
        );
    }
    daemon.stop();
}

#[test]
fn a_log_of_every_level_contains_no_value() {
    for format in ["text", "json"] {
        let home = Home::new();
        let mut command = home.keyway(["serve", "--log-format", format]);
        let daemon = Daemon::start(command.env("RUST_LOG", "trace"));
        home.set("web/token", b"canary-of-a-value");
        for line in [
            "get web/token",
            "get web/token --json",
            "ls",
            "ls --fetch",
            "get web/*",
        ] {
            let output = home.run(line, b"");
            assert!(output.status.success(), "{line}: {}", home.show(&output));
        }
        let found = home.query("web/*");
        assert!(found.contains("Y2FuYXJ5LW9mLWEtdmFsdWU"), "{found}");
        let (_, log) = daemon.stop();
        assert!(log.contains("received a frame"), "no trace level: {log}");
        for form in ["canary-of-a-value", "Y2FuYXJ5", "99, 97, 110, 97, 114, 121"] {
            assert!(!log.contains(form), "{form} is in the log");
        }
    }
}

#[test]
fn a_log_that_no_process_reads_holds_up_neither_requests_nor_the_stop() {
    for is_blocking in [true, false] {
        let home = Home::new();
        let (_reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, !is_blocking).unwrap();
        let mut command = home.keyway(["serve"]);
        let mut daemon = Process::spawn(command.env("RUST_LOG", "trace").stderr(writer));
        eventually("the socket", || UnixStream::connect(home.socket()));
        for _ in 0..50 {
            let response = home.query("web/other");
            assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
        }
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().code(), Some(0));
    }
}

/// A write beyond the limit of a file's size sends SIGXFSZ, which ends a process by default.
#[test]
fn a_file_at_its_size_limit_does_not_end_the_daemon() {
    let home = Home::new();
    let audit = home.join("audit/log.jsonl");
    home.configure(&format!("[audit]\npath = {audit:?}\n"));
    let daemon = home.serve(&[]);
    let pid = Pid::from_raw(daemon.id().cast_signed());
    let full = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    let former = prlimit(pid, Resource::Fsize, full).unwrap();
    assert!(home.query("web/other").contains("not_found"));
    prlimit(pid, Resource::Fsize, former).unwrap();
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}
