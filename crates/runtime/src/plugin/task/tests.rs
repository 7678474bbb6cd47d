//! The published view of each state, and the effects of commands. No process is started: the task is fed with outcomes.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keyway_proto::keyway::v1::{FailureKind, PluginState};

use super::*;
use crate::launch::{Environment, Spawner};
use crate::lines::PeerLines;
use crate::model::state::RememberedRegistration;
use crate::model::{Class, FileIdentity, Kind};
use crate::plugin::host::Publish;
use crate::plugin::machine::{Exit, LaunchFailure};
use crate::plugin::resources::Outcome;
use crate::plugin::retry::RestartPolicy;
use crate::plugin::state::Desired;
use crate::plugin::suspension::Suspensions;
use crate::plugin::testing::{Reply, Script, name, settings};
use crate::plugin::view::{Availability, View};
use crate::record::Audit;
use crate::record::Memory;

/// Keeps the last view.
#[derive(Default)]
struct Board(Mutex<Option<View>>);

impl Publish for Board {
    fn publish(&self, view: View) {
        *self.0.lock().expect("the view") = Some(view);
    }

    fn remove(&self, _name: &PluginName) {
        *self.0.lock().expect("the view") = None;
    }
}

/// A daemon around one task.
struct Daemon {
    host: Arc<Host>,
    board: Arc<Board>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let board = Arc::new(Board::default());
        let host = Host {
            spawner: Spawner::start().expect("a spawner"),
            environment: Environment::new([]),
            memory: Arc::new(Memory::open(directory.path()).expect("a memory")),
            audit: Arc::new(Audit::new(None)),
            restart: RestartPolicy::default(),
            keep_alive: Duration::from_secs(30),
            removal_grace: Duration::from_secs(10),
            version: crate::config::VersionInfo::new("v1.0.0"),
            publisher: board.clone(),
            suspensions: Arc::new(Suspensions::new()),
            stopping: AtomicBool::new(false),
            registration_lines: PeerLines::default(),
            refusal_lines: PeerLines::default(),
            departure_lines: PeerLines::default(),
        };
        Self {
            host: Arc::new(host),
            board,
            _directory: directory,
        }
    }

    fn task(&self, text: &str, source: Option<LaunchSource>) -> PluginTask {
        let update = update(text, source);
        PluginTask::new(name("vault"), Arc::clone(&self.host), update).0
    }

    /// The view that was published last.
    fn view(&self) -> View {
        let view = self.board.0.lock().expect("the view");
        view.clone().expect("a view")
    }

    fn remember(&self, kind: Kind, file: Option<FileIdentity>) {
        self.host.memory.remember(&name("vault"), |plugin| {
            plugin.registration = Some(RememberedRegistration { kind, file });
        });
    }

    fn realm(&self) -> Option<String> {
        self.view().realm.map(|realm| realm.to_string())
    }

    fn decision(&self) -> Option<bool> {
        self.host.memory.plugin(&name("vault")).decision()
    }
}

fn update(text: &str, source: Option<LaunchSource>) -> Update {
    let settings = settings(text);
    Update {
        settings: settings.plugin(&name("vault")),
        is_pinning: settings.is_pinning,
        source,
    }
}

fn file(inode: u64) -> FileIdentity {
    FileIdentity {
        device: 1,
        inode,
        size: 3,
        modified_ns: 4,
    }
}

fn source(inode: u64) -> Option<LaunchSource> {
    Some(LaunchSource {
        executable: "/plugins/vault".into(),
        argv0: "vault".into(),
        identity: Some(file(inode)),
        pass_env: Vec::new(),
        is_built_in: false,
        is_available_only: false,
        is_safe: true,
    })
}

fn provider(pattern: &str) -> Kind {
    Kind::Provider(vec![pattern.parse().expect("a pattern")])
}

fn launch_failed(task: &mut PluginTask) {
    let why = "there is no such file".into();
    task.feed(Event::LaunchFailed(LaunchFailure::Failed { why }));
}

/// The state, its meaning for a query, and the message.
fn seen(view: &View) -> (PluginState, &'static str, &str) {
    let availability = match &view.availability {
        Availability::Running(_) => "called",
        Availability::Starting {
            is_awaited: true, ..
        } => "awaited",
        Availability::Starting { .. } => "starting",
        Availability::Failed {
            kind: FailureKind::Down,
            next_start: Some(_),
        } => "down for a while",
        Availability::Failed {
            kind: FailureKind::Down,
            ..
        } => "down",
        Availability::Failed {
            kind: FailureKind::Refused,
            ..
        } => "refused",
        Availability::Failed { .. } => "failed otherwise",
        Availability::Excluded => "excluded",
    };
    (view.state, availability, &view.message)
}

const PIN: &str = "[plugins.other]\nsha256 = '0000000000000000000000000000000000000000000000000000000000000000'\n";

#[tokio::test]
async fn each_desired_state_is_published_at_once() {
    let daemon = Daemon::new();
    let available = || {
        source(1).map(|source| LaunchSource {
            is_available_only: true,
            ..source
        })
    };
    let untrusted = "new executable: look at it, then run `keyway plugins trust vault`";
    for (text, source, state, availability, message) in [
        ("", source(1), PluginState::Starting, "awaited", "starting"),
        (
            "[plugins.vault]",
            None,
            PluginState::Absent,
            "down",
            "neither an executable nor a connection of this name exists; install it, or run `keyway plugins disable vault`",
        ),
        (
            "[access]\nmodules = ['vault']",
            None,
            PluginState::Absent,
            "down",
            "neither an executable nor a connection of this name exists",
        ),
        (
            "[plugins.vault]\nenabled = false",
            source(1),
            PluginState::Disabled,
            "excluded",
            "disabled",
        ),
        (
            "",
            available(),
            PluginState::Available,
            "excluded",
            "enable it with `keyway plugins enable vault`",
        ),
        (
            "[plugins.vault]",
            available(),
            PluginState::Starting,
            "awaited",
            "starting",
        ),
        (
            PIN,
            source(1),
            PluginState::Untrusted,
            "excluded",
            untrusted,
        ),
        (
            &format!("{PIN}[plugins.vault]"),
            source(1),
            PluginState::Refused,
            "refused",
            "plugins are pinned and this one is not: run `keyway plugins trust vault`",
        ),
    ] {
        let _task = daemon.task(text, source);
        assert_eq!(
            seen(&daemon.view()),
            (state, availability, message),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_failed_plugin_is_down_until_its_next_start() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    launch_failed(&mut task);
    assert_eq!(
        seen(&daemon.view()),
        (
            PluginState::Crashed,
            "down for a while",
            "there is no such file; next start within 1 s"
        )
    );
    for _ in 0..9 {
        task.feed(Event::Desire {
            desired: Desired::Run,
            is_fresh: false,
        });
        let at = task.machine.next_timer().expect("a next start");
        task.machine.on_timer(&mut task.launcher, at);
        launch_failed(&mut task);
    }
    assert_eq!(
        seen(&daemon.view()),
        (
            PluginState::RetriesExceeded,
            "down for a while",
            "there is no such file; retries exceeded: repair the plugin, then run `keyway plugins enable vault`"
        )
    );
    let why = String::from("its executable is not the one that is pinned");
    task.feed(Event::Retry);
    task.feed(Event::LaunchFailed(LaunchFailure::Refused {
        why: why.clone(),
    }));
    assert_eq!(
        seen(&daemon.view()),
        (PluginState::Refused, "refused", &*why)
    );
}

#[tokio::test]
async fn a_plugin_that_is_disabled_while_it_is_launched_is_not_a_candidate() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    task.disable();
    assert!(matches!(task.machine.state(), State::Launching { .. }));
    assert_eq!(
        seen(&daemon.view()),
        (PluginState::Disabled, "excluded", "disabled")
    );
}

#[tokio::test]
async fn an_external_plugin_is_published_while_it_is_connected() {
    let daemon = Daemon::new();
    let mut task = daemon.task("[external]\nallow = ['vault']", None);
    let view = daemon.view();
    assert_eq!(
        (view.state, view.class),
        (PluginState::Absent, Class::External)
    );
    let script = Script::provider("vault", "vault/**", Reply::Values(Vec::new()));
    let (registrant, _plugin) = script.connect().await;
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let credentials = keyway_local::Credentials::of_peer(&ours).expect("credentials");
    let peer = Peer::identify(std::os::fd::AsFd::as_fd(&ours), credentials, true);
    let own = peer.pid();
    task.connect(registrant, Arc::new(peer));
    let view = daemon.view();
    assert_eq!(seen(&view), (PluginState::Running, "called", ""));
    assert_eq!((view.class, view.pid), (Class::External, own));
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"));
    assert_eq!(view.version(), "v1");
    // It leaves: its kind and realm are remembered.
    task.feed(Event::Ended {
        why: "connection closed by the plugin".into(),
        suspended_until: None,
    });
    let view = daemon.view();
    assert_eq!(
        view.state,
        PluginState::Absent,
        "it counts as the next state"
    );
    task.external = None;
    task.feed(Event::Drained(Exit::default()));
    let view = daemon.view();
    assert_eq!(
        (view.state, view.class, view.pid),
        (PluginState::Absent, Class::External, None)
    );
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"));
}

#[tokio::test]
async fn an_external_plugin_that_reconnects_while_it_drains_waits_for_the_drain() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", None);
    let script = Script::provider("vault", "vault/**", Reply::Values(Vec::new()));
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let credentials = keyway_local::Credentials::of_peer(&ours).expect("credentials");
    let peer = Peer::identify(std::os::fd::AsFd::as_fd(&ours), credentials, true);
    let peer = Arc::new(peer);
    let (first, _first) = script.connect().await;
    task.connect(first, Arc::clone(&peer));
    task.disconnect(&RegistrationError::ExternalRefused(name("vault")));
    let (second, _second) = script.connect().await;
    task.connect(second, Arc::clone(&peer));
    assert_eq!(daemon.view().state, PluginState::Absent);
    task.on_outcome(Outcome::Ended(None)).await;
    assert_eq!(daemon.view().state, PluginState::Running);
    // The manager decides about the next attempt of one that returned before a reload.
    task.disconnect(&RegistrationError::ExternalRefused(name("vault")));
    let (third, _third) = script.connect().await;
    task.connect(third, peer);
    task.update(update("", None));
    task.on_outcome(Outcome::Ended(None)).await;
    assert!(task.returning.is_none() && task.machine.is_gone());
}

#[tokio::test]
async fn a_starting_plugin_has_the_last_registration_of_its_file_and_none_with_another_file() {
    let daemon = Daemon::new();
    daemon.remember(provider("vault/**"), Some(file(1)));
    let _task = daemon.task("", source(1));
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"));
    let _task = daemon.task("", source(2));
    assert_eq!(daemon.view().kind, None, "a new file may be anything");
    assert!(daemon.view().may_be_anything());
    let _task = daemon.task("[plugins.vault]\nrealm = 'db/**'", source(2));
    assert_eq!(daemon.realm().as_deref(), Some("db/**"));
    assert!(!daemon.view().may_be_anything());
    let _task = daemon.task("[plugins.vault]\nrealm = 'vault/db/**'", source(1));
    assert_eq!(
        daemon.realm().as_deref(),
        Some("vault/db/**"),
        "its realm is cut"
    );
}

#[tokio::test]
async fn a_plugin_that_is_down_keeps_the_realm_last_known_for_its_name() {
    let daemon = Daemon::new();
    daemon.remember(provider("vault/**"), Some(file(1)));
    let mut task = daemon.task("", source(2));
    launch_failed(&mut task);
    task.first_start_has_failed();
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"), "Backoff");
    task.feed(Event::Retry);
    let view = daemon.view();
    assert_eq!(seen(&view).1, "starting", "the file failed before");
    assert_eq!(
        daemon.realm().as_deref(),
        Some("vault/**"),
        "while it is tried again, no lower value takes its place"
    );
    let _task = daemon.task("[plugins.vault]", None);
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"), "Absent");
    let _task = daemon.task("[plugins.vault]\nrealm = 'db/**'", None);
    assert_eq!(
        daemon.realm().as_deref(),
        Some("db/**"),
        "the configured realm counts first"
    );
    let _task = daemon.task(&format!("{PIN}[plugins.vault]"), source(2));
    assert_eq!(daemon.realm().as_deref(), Some("vault/**"), "Refused");
}

#[tokio::test]
async fn a_remembered_module_stays_one_unless_a_realm_is_configured() {
    let daemon = Daemon::new();
    daemon.remember(Kind::AccessControl, Some(file(1)));
    let _task = daemon.task("", source(1));
    assert_eq!(daemon.view().kind, Some(Kind::AccessControl));
    let _task = daemon.task("[plugins.vault]\nrealm = 'db/**'", source(1));
    assert_eq!(daemon.realm().as_deref(), Some("db/**"));
}

#[tokio::test]
async fn the_file_of_a_failed_first_start_is_awaited_only_if_required() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    launch_failed(&mut task);
    task.first_start_has_failed();
    let _task = daemon.task("", source(1));
    assert_eq!(seen(&daemon.view()).1, "starting");
    assert!(!daemon.view().may_be_anything());
    let _task = daemon.task("[plugins.vault]\nrequired = true", source(1));
    assert_eq!(seen(&daemon.view()).1, "awaited");
    let _task = daemon.task("", source(2));
    assert_eq!(seen(&daemon.view()).1, "awaited", "another file");
}

#[tokio::test]
async fn a_name_ranks_as_it_last_connected_and_as_launched_otherwise() {
    let daemon = Daemon::new();
    let _task = daemon.task("[plugins.vault]", None);
    assert_eq!(daemon.view().class, Class::Launched);
    daemon.remember(provider("vault/**"), None);
    let _task = daemon.task("[plugins.vault]", None);
    assert_eq!(daemon.view().class, Class::External);
    let _task = daemon.task("[plugins.vault]", source(1));
    assert_eq!(
        daemon.view().class,
        Class::Launched,
        "a file takes its place"
    );
    daemon.remember(provider("vault/**"), Some(file(1)));
    let _task = daemon.task("[plugins.vault]", None);
    assert_eq!(daemon.view().class, Class::Launched);
}

#[tokio::test]
async fn a_decision_wins_until_the_configured_line_changes() {
    let daemon = Daemon::new();
    let off = "[plugins.vault]\nenabled = false";
    let on = "[plugins.vault]\nenabled = true";
    let mut task = daemon.task(off, source(1));
    let (done, mut enabled) = oneshot::channel();
    task.enable(done);
    assert_eq!(daemon.decision(), Some(true));
    assert_eq!(daemon.view().state, PluginState::Starting);
    assert!(enabled.try_recv().is_err(), "its outcome is awaited");
    task.update(update(off, source(1)));
    assert_eq!(
        daemon.view().state,
        PluginState::Starting,
        "the line is the same"
    );
    task.update(update(on, source(1)));
    assert_eq!(daemon.decision(), None);
    task.disable();
    assert_eq!(
        seen(&daemon.view()),
        (
            PluginState::Disabled,
            "excluded",
            "disabled with `keyway plugins disable`, although the configuration enables it"
        )
    );
    let _task = daemon.task(on, source(1));
    assert_eq!(
        daemon.view().state,
        PluginState::Starting,
        "at a start the configuration holds"
    );
    let _task = daemon.task("", source(1));
    assert_eq!(
        daemon.view().state,
        PluginState::Disabled,
        "without one the decision does"
    );
}

#[tokio::test]
async fn enabling_a_refused_plugin_waits_for_the_outcome() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    let refused = |task: &mut PluginTask| {
        let why = "its executable is not trusted".into();
        task.feed(Event::LaunchFailed(LaunchFailure::Refused { why }));
    };
    refused(&mut task);
    let (done, mut enabled) = oneshot::channel();
    task.enable(done);
    assert!(enabled.try_recv().is_err());
    refused(&mut task);
    let error = enabled
        .try_recv()
        .expect("an outcome")
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "vault stays refused: its executable is not trusted"
    );
    // A failure of another kind is an outcome as well: it is enabled.
    let (done, mut enabled) = oneshot::channel();
    task.enable(done);
    launch_failed(&mut task);
    assert_eq!(enabled.try_recv().expect("an outcome"), Ok(()));
}

#[tokio::test]
async fn enabling_a_plugin_that_needs_a_pin_changes_nothing() {
    let daemon = Daemon::new();
    let mut task = daemon.task(PIN, source(1));
    let (done, mut enabled) = oneshot::channel();
    task.enable(done);
    let error = enabled
        .try_recv()
        .expect("an outcome")
        .expect_err("untrusted");
    assert_eq!(error, NotEnabled::Untrusted(name("vault")));
    assert_eq!(
        (daemon.decision(), daemon.view().state),
        (None, PluginState::Untrusted)
    );
}

#[tokio::test]
async fn any_change_of_its_settings_gives_a_failed_plugin_another_try() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    let why = "its executable is not trusted".into();
    task.feed(Event::LaunchFailed(LaunchFailure::Refused { why }));
    task.update(update("", source(1)));
    assert_eq!(
        daemon.view().state,
        PluginState::Refused,
        "nothing has changed"
    );
    task.update(update("[plugins.vault]\ntimeout = '3s'", source(1)));
    assert_eq!(daemon.view().state, PluginState::Starting);
}

#[tokio::test]
async fn a_vanished_file_is_reported_after_a_delay() {
    let daemon = Daemon::new();
    let mut task = daemon.task("[plugins.vault]", source(1));
    task.update(update("[plugins.vault]", None));
    assert_eq!(daemon.view().state, PluginState::Starting);
    assert!(task.vanishes_at.is_some());
    task.update(update("[plugins.vault]", source(1)));
    assert!(task.vanishes_at.is_none(), "it was the same file");
    task.update(update("[plugins.vault]", None));
    task.vanished();
    assert_eq!(daemon.view().state, PluginState::Absent);
    assert_eq!(daemon.view().executable, None);
}

#[tokio::test]
async fn reloads_return_when_no_start_is_under_way() {
    let daemon = Daemon::new();
    let mut task = daemon.task("", source(1));
    let (done, mut settled) = oneshot::channel();
    task.on_command(Command::Settle(done));
    assert!(settled.try_recv().is_err(), "it is launched");
    launch_failed(&mut task);
    assert_eq!(settled.try_recv(), Ok(()));
}
