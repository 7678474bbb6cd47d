//! `keyway serve` as a process: what it says, what it answers, and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

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

    fn keyway(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KEYWAY);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.0.path());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.keyway(arguments).output().expect("it runs")
    }

    fn set(&self, id: &str, value: &[u8]) {
        let mut set = self
            .keyway(&["set", id])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        set.stdin
            .take()
            .expect("a pipe")
            .write_all(value)
            .expect("written");
        assert!(set.wait().expect("it ends").success());
    }

    /// Starts the daemon at a path of its own and waits until it is ready. The second address that it has by default is one
    /// for the whole machine.
    fn serve(&self, arguments: &[&str]) -> Daemon {
        let socket = self.path("daemon.sock");
        let mut all = vec!["serve", "--listen", socket.to_str().expect("a path")];
        all.extend(arguments);
        Daemon::start(&mut self.keyway(&all), socket)
    }
}

struct Daemon {
    child: Child,
    socket: PathBuf,
    stderr: BufReader<Box<dyn Read + Send>>,
    ready: String,
}

impl Daemon {
    fn start(command: &mut Command, socket: PathBuf) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let stderr: ChildStderr = child.stderr.take().expect("a pipe");
        let mut stderr = BufReader::new(Box::new(stderr) as Box<dyn Read + Send>);
        let mut ready = String::new();
        stderr.read_line(&mut ready).expect("a line");
        Self {
            child,
            socket,
            stderr,
            ready,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
    }

    /// Stops it and returns its exit code and what else it wrote to stderr.
    fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }

    /// A request as `curl --unix-socket` sends it.
    fn post(&self, path: &str, json: &str) -> String {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        );
        self.raw(&request)
    }

    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time-out");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn serve_alone_in_a_fresh_home_is_a_working_engine() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    assert_eq!(
        daemon.ready,
        format!("keyway: ready at {}\n", daemon.socket.display())
    );
    home.set("web/token", b"not-a-real-token");
    let answer = daemon.post(
        "/resolver.v1.ResolverService/GetSecrets",
        r#"{"pattern":"web/*"}"#,
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains(r#""id":"web/token","value":"bm90LWEtcmVhbC10b2tlbg==","provider":"file""#),
        "{answer}"
    );
    assert!(
        daemon
            .raw("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .ends_with("\r\n\r\nok")
    );
    let version = daemon.post("/health.v1.VersionService/GetVersion", "{}");
    assert!(
        version.contains(concat!(r#""version":"v"#, env!("CARGO_PKG_VERSION"), '"')),
        "{version}"
    );
    let nothing = daemon.post(
        "/resolver.v1.ResolverService/GetSecrets",
        r#"{"pattern":"web/other"}"#,
    );
    assert!(
        nothing.starts_with("HTTP/1.1 404 ") && nothing.contains("not_found"),
        "{nothing}"
    );
    let malformed = daemon.post(
        "/resolver.v1.ResolverService/GetSecrets",
        r#"{"pattern":"a//b"}"#,
    );
    assert!(
        malformed.starts_with("HTTP/1.1 400 ") && malformed.contains("invalid_argument"),
        "{malformed}"
    );
    let socket = daemon.socket.clone();
    assert_eq!(
        daemon.stop(),
        (Some(0), String::new()),
        "it says one line and ends cleanly"
    );
    assert!(!socket.exists());
}

#[test]
fn the_same_secret_comes_back_through_the_command_line() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let value = [0_u8, 255, 10, 13, 0];
    home.set("raw/bytes", &value);
    let socket = daemon.socket.to_str().expect("a path").to_owned();
    let got = home.output(&["get", "--socket", &socket, "--value", "raw/bytes"]);
    assert_eq!(
        (got.status.code(), got.stdout),
        (Some(0), value.to_vec()),
        "{}",
        text(&got.stderr)
    );
    let missing = home.output(&["get", "--socket", &socket, "raw/missing"]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing.stderr));
    let listed = home.output(&["ls", "--socket", &socket]);
    assert!(
        listed.status.success() && text(&listed.stdout).contains("raw/bytes"),
        "{}",
        text(&listed.stdout)
    );
    let plugins = home.output(&["plugins", "--socket", &socket]);
    assert!(
        plugins.status.success() && text(&plugins.stdout).contains("file"),
        "{}",
        text(&plugins.stdout)
    );
    daemon.stop();
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let home = Home::new();
    let notify = UnixDatagram::bind(home.path("notify")).expect("a socket");
    notify
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out");
    let socket = home.path("daemon.sock");
    let mut command = home.keyway(&["serve", "--socket", socket.to_str().expect("a path")]);
    let daemon = Daemon::start(command.env("NOTIFY_SOCKET", home.path("notify")), socket);
    let mut message = [0; 64];
    let n_read = notify.recv(&mut message).expect("a message");
    assert_eq!(&message[..n_read], b"READY=1");
    daemon.stop();
    let n_read = notify.recv(&mut message).expect("a message");
    assert_eq!(&message[..n_read], b"STOPPING=1");
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_key() {
    let home = Home::new();
    fs::create_dir_all(home.path(".config/keyway")).expect("a directory");
    let file = home.path(".config/keyway/config.toml");
    fs::write(&file, "\n[plugins.pass]\ntimeout = \"soon\"\n").expect("written");
    let refused = home.output(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    let expected = format!(
        "keyway: {}:3: plugins.pass.timeout: \"soon\" is not a duration",
        file.display()
    );
    assert!(
        text(&refused.stderr).starts_with(&expected),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn an_address_in_use_is_refused_with_its_holder() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let socket = daemon.socket.to_str().expect("a path").to_owned();
    let refused = home.output(&["serve", "--listen", &socket, "--state-dir", "other"]);
    assert_eq!(refused.status.code(), Some(2));
    let expected = format!(
        "keyway: {socket} is in use by process {} of uid",
        daemon.child.id()
    );
    assert!(
        text(&refused.stderr).starts_with(&expected),
        "{}",
        text(&refused.stderr)
    );
    daemon.stop();
}

#[test]
fn a_second_daemon_of_one_state_directory_is_refused_with_the_pid_of_the_first() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let other = home.path("other.sock");
    let refused = home.output(&["serve", "--listen", other.to_str().expect("a path")]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    let expected = format!("another daemon (pid {})", daemon.child.id());
    assert!(message.contains(&expected), "{message}");
    assert!(message.contains("--state-dir"), "{message}");
    assert!(!other.exists());

    let flags = [
        "serve",
        "--listen",
        other.to_str().expect("a path"),
        "--state-dir",
        "state",
    ];
    let second = Daemon::start(&mut home.keyway(&flags), other.clone());
    assert!(second.ready.contains("ready at"), "{}", second.ready);
    assert!(home.path("state/lock").exists());
    second.stop();
    daemon.stop();
}

/// A configuration at the default path.
fn configure(home: &Home, text: &str) -> PathBuf {
    let file = home.path(".config/keyway/config.toml");
    fs::create_dir_all(file.parent().expect("a directory")).expect("created");
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn a_start_without_the_former_configuration_is_refused_until_it_is_given_up() {
    let home = Home::new();
    let file = configure(&home, "[plugins.file]\npriority = 1\n");
    home.serve(&[]).stop();
    fs::remove_file(&file).expect("removed");
    let refused = home.output(&["serve", "--listen", "daemon.sock"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(
        message.contains(file.to_str().expect("a path")),
        "{message}"
    );
    assert!(message.contains("--no-config"), "{message}");
    assert!(!home.path("daemon.sock").exists());

    let daemon = home.serve(&["--no-config"]);
    assert!(daemon.ready.contains("ready at"), "{}", daemon.ready);
    daemon.stop();
    let daemon = home.serve(&[]);
    assert!(daemon.ready.contains("ready at"), "{}", daemon.ready);
    daemon.stop();
}

#[test]
fn a_configuration_that_vanishes_stays_in_force() {
    let home = Home::new();
    let file = configure(&home, "[plugins.file]\nenabled = false\n");
    let mut daemon = home.serve(&[]);
    fs::remove_file(&file).expect("removed");
    daemon.signal(Signal::HUP);
    let mut line = String::new();
    while !line.contains("the old configuration stays in force") {
        line.clear();
        let n_bytes = daemon.stderr.read_line(&mut line).expect("a line");
        assert!(n_bytes > 0, "the daemon ended");
    }
    assert!(
        line.contains("ERROR") && line.contains("config.toml"),
        "{line}"
    );
    let query = r#"{"pattern":"web/token"}"#;
    let answer = daemon.post("/resolver.v1.ResolverService/GetSecrets", query);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    daemon.stop();
}

#[test]
fn a_configuration_that_cannot_be_read_ends_the_start_with_2() {
    let home = Home::new();
    let file = configure(&home, "");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a directory in its place");
    let directory = home.output(&["serve", "--listen", "daemon.sock"]);
    assert!(
        text(&directory.stderr).contains("is a directory"),
        "{directory:?}"
    );
    fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink("/nonexistent/config.toml", &file).expect("a link");
    let link = home.output(&["serve", "--listen", "daemon.sock"]);
    let named = home.output(&[
        "serve",
        "--listen",
        "daemon.sock",
        "--config",
        "absent.toml",
    ]);
    let both = home.output(&["serve", "--config", "absent.toml", "--no-config"]);
    let checked = home.output(&["config", "check", "absent.toml"]);
    // A path that leads nowhere may be a secret in the wrong place.
    for refused in [&named, &checked] {
        assert!(
            !text(&refused.stderr).contains("absent.toml"),
            "{refused:?}"
        );
    }
    for refused in [directory, link, named, both, checked] {
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

#[test]
fn a_configuration_of_an_option_is_named_once_it_was_in_force() {
    let home = Home::new();
    let file = home.path("own.toml");
    fs::write(&file, "").expect("written");
    home.serve(&["--config", "own.toml"]).stop();
    fs::remove_file(&file).expect("removed");
    let start = || home.output(&["serve", "--listen", "daemon.sock", "--config", "own.toml"]);
    let absent = start();
    fs::create_dir(&file).expect("a directory in its place");
    let directory = start();
    for refused in [absent, directory] {
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let message = text(&refused.stderr);
        assert!(
            message.contains(file.to_str().expect("a path")),
            "{message}"
        );
    }
}

/// The plugin `file` ends with status 1 instead of registering, so a query has no candidate once that is known.
fn assert_file_has_failed(daemon: &Daemon) {
    let query = r#"{"pattern":"web/token"}"#;
    let answer = daemon.post("/resolver.v1.ResolverService/GetSecrets", query);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let plugins = daemon.post("/plugins.v1.PluginManagementService/ListPlugins", "{}");
    assert!(plugins.contains("status 1"), "{plugins}");
}

#[test]
fn a_relative_plugin_directory_begins_where_the_daemon_was_started() {
    let home = Home::new();
    fs::create_dir(home.path("plugins")).expect("a directory");
    fs::copy("/bin/false", home.path("plugins/file")).expect("copied");
    let daemon = home.serve(&["--plugin-dir", "plugins"]);
    assert_file_has_failed(&daemon);
    daemon.stop();
}

#[test]
fn config_shows_each_setting_with_its_line_and_never_a_value_of_env() {
    let home = Home::new();
    let file = configure(
        &home,
        "[plugins.pass]\npriority = 10\nenv = { TOKEN = \"not-a-real-token\" }\n",
    );
    let shown = home.output(&["config"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let stdout = text(&shown.stdout);
    for line in [
        "\npriority = 10   # config.toml:2\n",
        "\nrequired = false   # default\n",
        "\n# No daemon is running.\n",
    ] {
        assert!(stdout.contains(line), "{line:?} is missing in {stdout}");
    }
    let json = text(&home.output(&["config", "--json"]).stdout);
    for part in [
        r#"{"table":"plugins.pass","key":"priority","value":"10","line":2}"#,
        r#""daemon":"not_running""#,
    ] {
        assert!(json.contains(part), "{part:?} is missing in {json}");
    }
    assert!(!json.contains("not-a-real-token"));
    assert!(!format!("{shown:?}").contains("not-a-real-token"));

    let path = file.to_str().expect("a path");
    let valid = home.output(&["config", "check", path]);
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");
    fs::write(&file, "[plugins.pass]\nprioriti = 10\n").expect("written");
    for arguments in [&["config", "check", path][..], &["config"]] {
        let invalid = home.output(arguments);
        assert_eq!(invalid.status.code(), Some(2), "{invalid:?}");
        let expected = format!(
            "keyway: {path}:2: plugins.pass.prioriti: unknown key; the nearest known key is `priority`"
        );
        assert!(text(&invalid.stderr).starts_with(&expected), "{invalid:?}");
    }
}

#[test]
fn sighup_reloads_and_a_mistake_changes_nothing() {
    let home = Home::new();
    let file = home.path("config.toml");
    fs::write(&file, "").expect("written");
    let mut daemon = home.serve(&["--config", file.to_str().expect("a path")]);
    home.set("web/token", b"not-a-real-token");
    let get = |daemon: &Daemon| {
        daemon.post(
            "/resolver.v1.ResolverService/GetSecrets",
            r#"{"pattern":"web/token"}"#,
        )
    };
    assert!(get(&daemon).starts_with("HTTP/1.1 200 "));
    fs::write(&file, "unknown = 1").expect("written");
    daemon.signal(Signal::HUP);
    let mut line = String::new();
    daemon.stderr.read_line(&mut line).expect("a line");
    assert!(
        line.contains("the old configuration stays in force") && line.contains("unknown"),
        "{line}"
    );
    assert!(get(&daemon).starts_with("HTTP/1.1 200 "));
    fs::write(&file, "[plugins.file]\nenabled = false").expect("written");
    daemon.signal(Signal::HUP);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !get(&daemon).starts_with("HTTP/1.1 404 ") {
        assert!(Instant::now() < deadline, "the plugin is still asked");
    }
    daemon.stop();
}

#[test]
fn a_plugin_directory_replaces_the_bundled_provider() {
    let home = Home::new();
    let plugins = home.path("plugins");
    fs::create_dir(&plugins).expect("a directory");
    // Not a plugin at all, but it has the name.
    fs::copy("/bin/false", plugins.join("file")).expect("copied");
    let daemon = home.serve(&["--plugin-dir", plugins.to_str().expect("a path")]);
    assert_file_has_failed(&daemon);
    daemon.stop();
}

#[test]
fn a_second_signal_right_after_the_first_is_no_crash() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let pid = Pid::from_child(&daemon.child);
    daemon.signal(Signal::INT);
    // It may have ended between the two.
    let _ = kill_process(pid, Signal::INT);
    let (code, _) = daemon.stop_without_signal();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

/// As `printf ... | nc -U` does: the end of what it sends is not the end of its interest.
#[test]
fn a_client_that_ends_its_sending_half_is_answered() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    home.set("web/token", b"not-a-real-token");
    // The end may be seen before or after the call has begun, and after it has been answered.
    let health = std::iter::repeat_n("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 500);
    for request in health.chain([
        "POST /resolver.v1.ResolverService/GetSecrets HTTP/1.1\r\nHost: x\r\n\
         Content-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"pattern\":\"web/token\"}",
    ]) {
        let mut stream = UnixStream::connect(&daemon.socket).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time-out");
        stream.write_all(request.as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("ended");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{request}: {answer}");
    }
    daemon.stop();
}

/// A plugin directory with one that cannot be stopped but by force, which takes seconds.
fn stubborn_plugin(home: &Home) -> PathBuf {
    let plugins = home.path("plugins");
    fs::create_dir(&plugins).expect("a directory");
    let script = "#!/bin/sh\ntrap '' INT TERM\necho trapped >&2\nwhile :; do sleep 1; done\n";
    fs::write(plugins.join("stubborn"), script).expect("written");
    fs::set_permissions(plugins.join("stubborn"), fs::Permissions::from_mode(0o700))
        .expect("executable");
    plugins
}

/// As `timeout` does, which signals its child and then the group of both.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let home = Home::new();
    let plugins = stubborn_plugin(&home);
    let mut daemon = home.serve(&["--plugin-dir", plugins.to_str().expect("a path")]);
    let mut line = String::new();
    while !line.contains("trapped") {
        daemon.stderr.read_line(&mut line).expect("a line");
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    let (code, rest) = daemon.stop_without_signal();
    assert_eq!(code, Some(0), "{rest}");
}

#[test]
fn a_signal_that_comes_again_ends_the_daemon_at_once() {
    let home = Home::new();
    let plugins = stubborn_plugin(&home);
    let mut daemon = home.serve(&["--plugin-dir", plugins.to_str().expect("a path")]);
    let mut line = String::new();
    while !line.contains("trapped") {
        daemon.stderr.read_line(&mut line).expect("a line");
    }
    let ended = loop {
        daemon.signal(Signal::INT);
        if let Some(ended) = daemon.child.try_wait().expect("it is a child") {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn a_plugin_directory_that_was_named_and_is_missing_is_told() {
    let home = Home::new();
    let mut daemon = home.serve(&["--plugin-dir", "/nonexistent/plugins"]);
    let mut line = String::new();
    daemon.stderr.read_line(&mut line).expect("a line");
    let note = "the plugin directory /nonexistent/plugins does not exist\n";
    assert!(line.ends_with(note), "{line}");
    daemon.stop();
}

impl Daemon {
    fn stop_without_signal(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }
}

#[test]
fn secrets_are_in_no_log_however_much_is_logged() {
    let home = Home::new();
    let socket = home.path("daemon.sock");
    let mut command = home.keyway(&[
        "serve",
        "--log-format",
        "json",
        "--listen",
        socket.to_str().expect("a path"),
    ]);
    let mut daemon = Daemon::start(command.env("RUST_LOG", "trace"), socket);
    home.set("canary/id", b"canary-dummy-value");
    let mut stderr = std::mem::replace(
        &mut daemon.stderr,
        BufReader::new(Box::new(std::io::empty()) as _),
    );
    // Somebody has to read what it logs, or it would wait.
    let reader = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).expect("text");
        log
    });
    let answer = daemon.post(
        "/resolver.v1.ResolverService/GetSecrets",
        r#"{"pattern":"canary/*"}"#,
    );
    assert!(answer.contains("Y2FuYXJ5LWR1bW15LXZhbHVl"), "{answer}");
    daemon.stop();
    let drained = reader.join().expect("read");
    assert!(drained.len() > 1000, "the log is on");
    for canary in ["canary-dummy-value", "Y2FuYXJ5LWR1bW15LXZhbHVl"] {
        assert!(!drained.contains(canary), "a value is in the log");
    }
}
