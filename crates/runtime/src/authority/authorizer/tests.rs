//! Callers that are real processes: of a plugin's group, descendants, and pids that another process has by now.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use futures::FutureExt as _;
use keyway_rpc::Code;
use keyway_secrets::Pattern;
use rustix::process::{PidfdFlags, getpid, getuid, pidfd_open};

use super::*;
use crate::authority::Manage;
use crate::plugin::Publish as _;
use crate::plugin::testing::{failed, name, settings, starting, view};
use keyway_proto::keyway::v1::FailureKind;

/// A child in a process group of its own, as a launched plugin is.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("600").process_group(0).spawn().expect("sleep"))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn raw_pid(&self) -> i32 {
        self.pid().as_raw_nonzero().get()
    }

    fn peer(&self) -> Arc<Peer> {
        self.peer_of(getuid().as_raw())
    }

    fn peer_of(&self, uid: u32) -> Arc<Peer> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("a pidfd");
        let process = Process::new(self.pid(), Some(pidfd));
        Arc::new(Peer::of_process(process, uid))
    }

    fn end(&mut self) {
        self.0
            .kill()
            .and_then(|()| self.0.wait())
            .expect("it is killed");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn authorizer(text: &str) -> Authorizer {
    let settings = Current::new(settings(text));
    Authorizer::new(Arc::new(Registry::new()), Arc::new(settings))
}

impl Authorizer {
    /// Publishes the launched plugin `vault`.
    fn publish(&self, availability: Availability, pid: Option<i32>) {
        let settings = self.settings.load().plugin(&name("vault"));
        let view = View {
            pid,
            ..view("vault", Some(&["vault/**"]), availability, &settings)
        };
        self.registry.publish(view);
    }

    async fn code(&self, peer: &Arc<Peer>, action: &Action<'_>) -> Option<Code> {
        let permitted = self.permit(&Caller::new(Arc::clone(peer)), action).await;
        permitted.err().map(|error| error.code())
    }
}

fn query(text: &str) -> [Pattern; 1] {
    [text.parse().expect("a pattern")]
}

const STOP: Action<'_> = Action::Manage(Manage::Stop);

#[test]
fn a_child_has_the_group_that_it_was_started_in() {
    let mut sleeper = Sleeper::start();
    let pid = sleeper.pid();
    assert_eq!(process_group(pid), Some(pid));
    sleeper.end();
    assert_eq!(process_group(pid), None);
}

#[tokio::test]
async fn the_version_and_other_users_are_decided_without_examining_the_process() {
    let authorizer = authorizer("");
    // A request of a descendant waits for this launch to be noted, if the process is looked at.
    authorizer.publish(starting(Duration::from_secs(5)), None);
    let sleeper = Sleeper::start();
    let peer = sleeper.peer();
    assert!(
        authorizer
            .code(&peer, &Action::Inspect)
            .now_or_never()
            .is_none()
    );
    let version = authorizer.code(&peer, &Action::Version).now_or_never();
    assert_eq!(version, Some(None));
    let stranger = sleeper.peer_of(getuid().as_raw() + 7);
    for action in [Action::Version, Action::Inspect] {
        let refused = authorizer.code(&stranger, &action).now_or_never();
        assert_eq!(refused, Some(Some(Code::PermissionDenied)));
    }
}

#[tokio::test]
async fn a_process_of_a_plugins_group_is_limited_to_may_resolve() {
    let authorizer = authorizer("[plugins.vault]\nmay_resolve = ['db/*']");
    let sleeper = Sleeper::start();
    authorizer.publish(starting(Duration::from_secs(5)), Some(sleeper.raw_pid()));
    let peer = sleeper.peer();
    let resolve = query("**");
    let permitted = authorizer
        .permit(&Caller::new(Arc::clone(&peer)), &Action::Resolve(&resolve))
        .await
        .expect("a part of it");
    assert_eq!(permitted.permit.narrow(&resolve[0]).as_str(), "db/*");
    assert_eq!(permitted.permit.excluded_plugin(), Some(&name("vault")));
    let other = query("web/*");
    for action in [Action::Resolve(&other), Action::ListPlugins, STOP] {
        let code = authorizer.code(&peer, &action).await;
        assert_eq!(code, Some(Code::PermissionDenied), "{action:?}");
    }
}

#[tokio::test]
async fn a_request_without_modules_reads_nothing_of_its_caller() {
    let authorizer = authorizer("");
    let sleeper = Sleeper::start();
    let patterns = query("db/password");
    let caller = Caller::new(sleeper.peer());
    let permitted = authorizer
        .permit(&caller, &Action::Resolve(&patterns))
        .await;
    permitted.expect("a descendant may resolve");
    assert_eq!(caller.facts_if_read(), None);
}

#[tokio::test(start_paused = true)]
async fn a_request_before_its_launch_is_recorded_waits_for_the_record() {
    let authorizer = authorizer("");
    authorizer.publish(starting(Duration::from_secs(5)), None);
    let sleeper = Sleeper::start();
    let peer = sleeper.peer();
    let patterns = query("db/password");
    let action = Action::Resolve(&patterns);
    let note = async {
        tokio::task::yield_now().await;
        authorizer.publish(starting(Duration::from_secs(5)), Some(sleeper.raw_pid()));
    };
    let (code, ()) = tokio::join!(authorizer.code(&peer, &action), note);
    assert_eq!(code, Some(Code::PermissionDenied), "it is of the plugin");
    // A launch that is never noted holds it up for a bounded time.
    authorizer.publish(starting(Duration::from_secs(5)), None);
    let began = Instant::now();
    assert_eq!(authorizer.code(&peer, &Action::Inspect).await, None);
    assert_eq!(began.elapsed(), LAUNCH_NOTED);
}

#[tokio::test]
async fn a_descendant_may_read_and_change_nothing() {
    let authorizer = authorizer("");
    let sleeper = Sleeper::start();
    let peer = sleeper.peer();
    let patterns = query("db/password");
    for action in [Action::Resolve(&patterns), Action::Inspect] {
        assert_eq!(authorizer.code(&peer, &action).await, None, "{action:?}");
    }
    assert_eq!(
        authorizer.code(&peer, &STOP).await,
        Some(Code::PermissionDenied)
    );
}

#[tokio::test]
async fn a_reused_pid_grants_nothing() {
    let authorizer = authorizer("");
    let (mut former, plugin) = (Sleeper::start(), Sleeper::start());
    authorizer.publish(failed(FailureKind::Down), Some(plugin.raw_pid()));
    // As if the pid of the caller, which has ended, were that of the plugin by now.
    let pidfd = pidfd_open(former.pid(), PidfdFlags::empty()).expect("a pidfd");
    former.end();
    let reused = |pid| {
        let pidfd = pidfd.try_clone().expect("a pidfd");
        let process = Process::new(pid, Some(pidfd));
        Arc::new(Peer::of_process(process, getuid().as_raw()))
    };
    let patterns = query("db/password");
    let peer = reused(plugin.pid());
    assert_eq!(
        authorizer.code(&peer, &Action::Resolve(&patterns)).await,
        None
    );
    // And as if it were that of a program of the user: an ended process changes nothing.
    let peer = reused(getpid());
    assert_eq!(
        authorizer.code(&peer, &STOP).await,
        Some(Code::PermissionDenied)
    );
}
