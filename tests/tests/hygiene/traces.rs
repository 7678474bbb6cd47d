//! The traces of requests when everything that can fail fails while a value is on its way.

use std::fmt::Debug;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_proto::keyway::v1::FailureKind;
use keyway_resolver::{DaemonSocket, Resolver};
use keyway_test_support::process::{children, stat};
use keyway_test_support::{Daemon, Process, eventually, feed, http, text};
use keyway_tests::Home;
use keyway_tests::canary::CANARY;
use keyway_tests::fault::{Fault, Progress};
use keyway_tests::script::{Decision, Failing, QueryResponse, Script};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::evidence::{assert_clean, assert_clean_files, contains_canary};
use crate::{PLUGIN, prepare, serve};

const GET: &str = "/resolver.v1.ResolverService/GetSecrets";
const LIST: &str = "/keyway.v1.CatalogService/ListSecrets";

/// A home with the canary's plugin on the SDK, the misbehaving one with the same value, and an access-control module.
struct Scene {
    home: Home,
    keyway: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new(PLUGIN);
        let keyway = prepare(&home);
        let audit = home.join("audit.jsonl");
        home.configure(&format!(
            "[audit]\npath = {audit:?}\n[access]\nmodules = ['gate']\n[plugins.vault]\nrealm = 'vault/**'\n\
             env = {{ RUST_BACKTRACE = '1' }}\n[plugins.raw]\nrealm = 'raw/**'\n"
        ));
        let gate = Script {
            is_module: true,
            decision: Decision::DenyBelow("vault/denied".into()),
            ..Script::default()
        };
        home.change("gate", &gate);
        home.copy("gate");
        home.change("raw", &raw(QueryResponse::Secrets));
        home.copy("raw");
        Self { home, keyway }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = self.home.command(&self.keyway);
        command.args(line).env("RUST_LOG", "trace");
        command
    }

    /// Runs a command whose messages must be clean, and returns its output.
    fn run(&self, line: &[&str]) -> Output {
        let output = feed(&mut self.command(line), b"");
        assert_clean(&format!("the messages of {line:?}"), &output.stderr);
        output
    }

    /// Runs a command that prints no value, and checks whether it succeeds.
    fn run_clean(&self, line: &[&str], succeeds: bool) {
        let output = self.run(line);
        assert_clean(&format!("the output of {line:?}"), &output.stdout);
        let messages = text(&output.stderr);
        assert_eq!(output.status.success(), succeeds, "{line:?}: {messages}");
    }

    /// Runs a command that prints the value.
    fn run_for_value(&self, line: &[&str]) {
        let output = self.run(line);
        assert!(contains_canary(&output.stdout), "{line:?}: {output:?}");
    }

    /// Waits until `raw` responds with its value again. One that has ended is started again.
    fn repair(&self) {
        self.home.change("raw", &raw(QueryResponse::Secrets));
        eventually("the plugin to respond", || {
            let output = self.run(&["get", "raw/x"]);
            contains_canary(&output.stdout).then_some(()).ok_or(output)
        });
    }

    /// Starts a command whose query `raw` holds, and returns it when the query has arrived.
    fn start(&self, line: &[&str]) -> Process {
        self.home.clear_events("raw");
        let mut command = self.command(line);
        let process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        eventually("the query to arrive", || {
            let events = self.home.events("raw");
            let is_there = events.iter().any(|event| event.starts_with("queried"));
            is_there.then_some(()).ok_or(events)
        });
        process
    }

    /// The process of a plugin.
    fn plugin(&self, daemon: &Daemon, name: &str) -> Pid {
        let pids = children(daemon.id().cast_signed());
        let pid = pids
            .into_iter()
            .find(|pid| stat(*pid).is_some_and(|stat| stat.name == name));
        Pid::from_raw(pid.expect("it runs")).expect("a process")
    }
}

/// The script of `raw`, which responds so while it holds the canary.
fn raw(response: QueryResponse) -> Script {
    Script {
        secrets: Some([("raw/x".to_owned(), CANARY.to_owned())].into()),
        response,
        ..Script::default()
    }
}

/// A query as bytes, for the value of an id.
fn query(id: &str, head: &str) -> String {
    let json = format!("{{\"pattern\":\"{id}\"}}");
    let request = http::post_request(GET, &json);
    request.replacen("\r\n\r\n", &format!("\r\n{head}\r\n\r\n"), 1)
}

/// The ordinary commands and requests.
fn use_it(scene: &Scene) {
    let socket = &scene.home.socket();
    scene.run_for_value(&["get", "vault/held"]);
    scene.run_for_value(&["get", "vault/held", "--json"]);
    scene.run_for_value(&["get", "vault/*", "--json"]);
    scene.run_for_value(&["get", "raw/x"]);
    scene.run_clean(&["get", "vault/held", "--explain"], true);
    // The lists of `vault` are incomplete.
    scene.run_clean(&["ls"], false);
    scene.run_clean(&["ls", "--fetch"], false);
    scene.run_clean(&["plugins"], true);
    scene.run_clean(&["plugins", "--json"], true);
    scene.run_clean(&["config"], true);
    scene.run_clean(&["get", "vault/denied"], false);
    scene.run_clean(&["get", "vault/absent"], false);
    // Its environment holds the value, and so may its output; the messages of `run` do not.
    let env = ["run", "--", "sh", "-c", "test -n \"$TOKEN\""];
    let output = feed(scene.command(&env).env("TOKEN", "se://vault/held"), b"");
    assert!(output.status.success(), "{output:?}");
    assert_clean(
        "the messages of run",
        [output.stdout, output.stderr].concat(),
    );
    let json = http::exchange(socket, &query("vault/held", "x: y"));
    assert!(contains_canary(json.as_bytes()), "{json}");
    assert_clean(
        "a list",
        http::post(socket, LIST, "{\"pattern\":\"vault/**\"}"),
    );
    for head in ["accept-encoding: gzip", "connect-timeout-ms: 60000"] {
        let mut stream = UnixStream::connect(socket).expect("connected");
        let request = query("vault/held", head);
        stream.write_all(request.as_bytes()).expect("written");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("a response");
        assert!(response.starts_with(b"HTTP/1.1 200 OK"), "{head}");
    }
    // A caller that disconnects before its response, and one that disconnects within it.
    for n_read in [0, 40] {
        let mut stream = UnixStream::connect(socket).expect("connected");
        let request = query("vault/held", "x: y");
        stream.write_all(request.as_bytes()).expect("written");
        stream.read_exact(&mut vec![0; n_read]).expect("a response");
    }
}

/// The value is in the scope of a handler, or in a response, when something fails.
fn break_it(scene: &Scene) {
    let socket = &scene.home.socket();
    scene.run_clean(&["get", "vault/panics"], false);
    scene.run_clean(&["get", "vault/late", "--timeout", "1s"], false);
    for response in [
        QueryResponse::Garbage,
        QueryResponse::Fault(Fault::CutConnection(Progress::Nothing)),
        QueryResponse::Fault(Fault::CutConnection(Progress::Half)),
        QueryResponse::Fault(Fault::ResetStream),
        QueryResponse::Fault(Fault::SendGarbage),
        QueryResponse::Failure(Failing::new(FailureKind::Locked)),
        QueryResponse::Code("internal".into()),
        QueryResponse::Exit(9),
    ] {
        scene.repair();
        scene.home.change("raw", &raw(response));
        let output = scene.run(&["get", "raw/x"]);
        // Bytes that are sent behind those that end a session may arrive before them.
        if !contains_canary(&output.stdout) {
            assert!(!output.status.success(), "{output:?}");
        }
        assert_clean(
            "a list",
            http::post(socket, LIST, "{\"pattern\":\"raw/**\"}"),
        );
    }
    scene.repair();
    for expired in [Some(1_000_000_000), None] {
        let script = Script {
            expires_at: expired,
            incomplete: expired.is_none().then(|| Failing::new(FailureKind::Locked)),
            unrequested: vec!["elsewhere/x".into()],
            ..raw(QueryResponse::Secrets)
        };
        scene.home.change("raw", &script);
        eventually("the response", || {
            let output = scene.run(&["get", "raw/y"]);
            let is_judged = output.status.code() == Some(5) || output.status.code() == Some(6);
            is_judged.then_some(()).ok_or(output)
        });
    }
}

/// The client library at every level, in this process: its log, its errors, and the `Debug` of its results.
fn use_the_library(scene: &Scene) {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Written::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();
    tracing::trace!("captured");
    scene.home.change("raw", &raw(QueryResponse::Garbage));
    let resolver = Resolver::new(DaemonSocket::at(scene.home.socket().into()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let shown = |what: &str, result: &dyn Debug| {
            assert_clean(what, format!("{result:?} {result:#?}"));
        };
        let held = resolver
            .get_one(&"vault/held".parse().expect("an id"))
            .await;
        assert_eq!(
            held.as_ref().expect("a value").value.expose(),
            CANARY.as_bytes()
        );
        shown("the Debug of a secret", &held);
        shown(
            "the Debug of secrets",
            &resolver.get(&"vault/*".parse().expect("a pattern")).await,
        );
        for id in [
            "raw/x",
            "vault/panics",
            "vault/denied",
            "vault/half",
            "vault/none",
        ] {
            let resolver = resolver.clone().with_timeout(Duration::from_secs(60));
            let result = resolver.get_one(&id.parse().expect("an id")).await;
            shown(id, &result);
            let mut error: Option<&dyn std::error::Error> = match &result {
                Ok(_) => None,
                Err(error) => Some(error),
            };
            while let Some(one) = error {
                assert_clean(id, format!("{one} {one:?}"));
                error = one.source();
            }
        }
    });
    let log = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(text(&log).contains("captured"), "{}", text(&log));
    assert_clean("the log of the client library", &log);
}

/// `/proc` of everything that handles the value, while a request is in flight, and the end of it all by a signal that dumps core.
fn look_and_abort(scene: &Scene, daemon: Daemon) -> String {
    scene.repair();
    scene.home.change("raw", &raw(QueryResponse::Hold));
    let get = scene.start(&["get", "raw/x"]);
    // The reference is in the environment; the value will be in that of the command alone.
    let run = scene.start(&["run", "--env-file", "refs.env", "--", "true"]);
    let plugins = ["vault", "raw", "gate"].map(|name| scene.plugin(&daemon, name));
    let own = [&get, &run].map(Process::pid);
    let run_children = children(run.pid().as_raw_nonzero().get());
    let daemon_pid = Pid::from_raw(daemon.id().cast_signed()).expect("a process");
    let pids = own.into_iter().chain(plugins).chain([daemon_pid]);
    let pids = pids
        .map(|pid| pid.as_raw_nonzero().get())
        .chain(run_children);
    for pid in pids {
        for file in ["cmdline", "environ", "status", "limits", "stat"] {
            let path = format!("/proc/{pid}/{file}");
            // Files of other users' processes, and of those that are not dumpable, are closed to all but root.
            if let Ok(bytes) = fs::read(&path) {
                assert_clean(&path, bytes);
            }
        }
    }
    let [vault, raw, _] = plugins;
    kill_process(vault, Signal::ABORT).expect("it runs");
    for mut client in [get, run] {
        client.signal(Signal::ABORT);
        let status = client.wait();
        assert!(!status.success() && !status.core_dumped(), "{status}");
    }
    kill_process(raw, Signal::ABORT).expect("it runs");
    daemon.signal(Signal::ABORT);
    let (status, log) = daemon.wait();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    log
}

#[test]
fn no_fault_leaves_a_value_anywhere() {
    let scene = Scene::new();
    scene.home.write("refs.env", "TOKEN=se://raw/x\n");
    // Whatever limit the tests inherited, cores are possible here.
    let former = getrlimit(Resource::Core);
    let unlimited = Rlimit {
        current: former.maximum,
        maximum: former.maximum,
    };
    setrlimit(Resource::Core, unlimited).expect("the soft limit may be raised");
    let daemon = serve(&scene.home, &scene.keyway, &[]);
    use_it(&scene);
    break_it(&scene);
    use_the_library(&scene);
    let log = look_and_abort(&scene, daemon);
    assert!(log.contains("received a frame"), "no trace level");
    assert!(log.contains("the handler of"), "no message of the panic");
    assert_clean("the daemon's log", &log);
    let audit = fs::read(scene.home.join("audit.jsonl")).expect("an audit log");
    assert!(text(&audit).lines().count() > 20, "{}", text(&audit));
    assert_clean("the audit log", &audit);
    assert_clean_files(&scene.home.join("state"));
    let unprotected = Command::new("sh")
        .args(["-c", "kill -ABRT $$"])
        .current_dir(scene.home.create_dir("control"))
        .status();
    let unprotected = unprotected.expect("a shell");
    if !unprotected.core_dumped() {
        eprintln!("this machine writes no core of any process");
    }
    let cores: Vec<_> = fs::read_dir(scene.home.path())
        .expect("a directory")
        .flatten()
        .collect();
    let is_core = |name: &str| name.starts_with("core");
    assert!(
        cores
            .iter()
            .all(|entry| !is_core(&entry.file_name().to_string_lossy())),
        "{cores:?}"
    );
}
