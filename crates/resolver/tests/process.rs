//! A client in a process that forks, or that may not open another file.
#![cfg(feature = "blocking")]
#![allow(unsafe_code, reason = "fork has no safe interface")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
};
use keyway_resolver::{DaemonSocket, Envelope, ResolveError, Resolver, blocking};
use keyway_rpc::{Error, Request, Response, Router};
use keyway_test_support::Home;
use keyway_test_support::scripted::{ScriptedDaemon, Version};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};
use tokio::runtime::{Builder, Runtime};

/// The value of an id is the id; `never` gets no response.
struct Echo;

impl ResolverService for Echo {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let id = request.message().pattern();
        if id == "never" {
            std::future::pending::<()>().await;
        }
        let envelope = Envelope::new(id.parse().expect("an id"), id);
        Ok(Response::new(GetSecretsResponse {
            envelopes: vec![envelope.into()],
        }))
    }
}

fn serve(home: &Home) -> ScriptedDaemon {
    let router = Router::new()
        .add_service(ResolverServiceServer::new(Echo))
        .add_service(VersionServiceServer::new(Version("v1.2.3")));
    ScriptedDaemon::serve(home.socket(), router)
}

/// Shares no connection with another one.
fn socket(home: &Home) -> DaemonSocket {
    DaemonSocket::at(home.socket().into())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A process that [`fork`] started.
struct Child(Pid);

impl Child {
    fn finish(self) {
        let status = waitpid(Some(self.0), WaitOptions::empty()).unwrap();
        let status = status.expect("it has ended").1;
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
    }
}

/// Forks, and runs `work` in the child, which succeeds if that does not panic.
fn fork(work: impl FnOnce()) -> Child {
    // SAFETY: the child has a copy of this thread alone. The locks of other threads that it needs are those of the allocator and
    // of standard error, which the C library and the test leave unlocked.
    match unsafe { libc::fork() } {
        -1 => panic!("no process"),
        0 => {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: ends this process without the exit handlers of its parent.
            unsafe { libc::_exit(outcome.is_err().into()) }
        }
        child => Child(Pid::from_raw(child).unwrap()),
    }
}

/// One of both faces: it gets the value of an id.
type Get<'a> = dyn Fn(&str) -> Result<String, ResolveError> + 'a;

/// Gets the values of different ids.
fn get_all(get: &Get<'_>, name: &str) {
    for number in 0..50 {
        let id = format!("{name}/{number}");
        assert_eq!(get(&id).unwrap(), id);
    }
}

fn the_value(secrets: keyway_resolver::Secrets) -> String {
    let [envelope] = secrets.envelopes.as_slice() else {
        panic!("{secrets:?}");
    };
    String::from_utf8(envelope.value.expose().to_vec()).unwrap()
}

/// The same client in two processes at once, first in the parent.
fn check_fork(daemon: &ScriptedDaemon, parent: &Get<'_>, child: &Get<'_>) {
    let before = daemon.n_accepted();
    parent("first").unwrap();
    for name in ["child", "sibling"] {
        let forked = fork(|| {
            get_all(child, name);
            // Its own child as well.
            fork(|| get_all(child, "grandchild")).finish();
            get_all(child, name);
        });
        get_all(parent, "parent");
        forked.finish();
        get_all(parent, "parent");
    }
    assert_eq!(daemon.n_accepted() - before, 5);
}

#[test]
fn a_forked_process_has_connections_of_its_own() {
    let home = Home::new();
    let daemon = serve(&home);
    let timeout = Duration::from_secs(60);

    let client = blocking::Resolver::new(socket(&home)).unwrap();
    let client = client.with_timeout(timeout);
    let get = |id: &str| client.get(&id.parse().unwrap()).map(the_value);
    check_fork(&daemon, &get, &get);

    let client = Resolver::new(socket(&home)).with_timeout(timeout);
    let own = runtime();
    let parent = |id: &str| {
        own.block_on(client.get(&id.parse().unwrap()))
            .map(the_value)
    };
    let child = |id: &str| {
        runtime()
            .block_on(client.get(&id.parse().unwrap()))
            .map(the_value)
    };
    check_fork(&daemon, &parent, &child);
}

/// Lets this process open no further file.
fn exhaust_descriptors() {
    let next = File::open("/dev/null").unwrap();
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: u64::try_from(next.as_raw_fd()).ok(),
        ..limit
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The error must name the shortage and not the daemon.
#[track_caller]
fn assert_shortage(error: &ResolveError) {
    let is_named = error.to_string().contains("Too many open files");
    assert!(
        matches!(error, ResolveError::NotRunning(_)) && is_named,
        "{error:?}"
    );
}

#[test]
fn without_descriptors_a_kept_connection_serves_and_another_is_a_clear_error() {
    let home = Home::new();
    let _daemon = serve(&home);
    // The limit is that of a process, so that it gets one of its own.
    let forked = fork(|| {
        let client = blocking::Resolver::new(socket(&home)).unwrap();
        let other = blocking::Resolver::new(socket(&home)).unwrap();
        let get =
            |client: &blocking::Resolver, id: &str| client.get(&id.parse().unwrap()).map(the_value);
        get(&client, "first").unwrap();
        exhaust_descriptors();
        get_all(&|id| get(&client, id), "kept");
        assert_shortage(&get(&other, "x").unwrap_err());
    });
    forked.finish();
}

/// The probes of a call without a response cannot connect.
#[test]
fn a_call_that_cannot_probe_its_daemon_reports_the_shortage() {
    let home = Home::new();
    let _daemon = serve(&home);
    let forked = fork(|| {
        let client = Resolver::new(socket(&home));
        runtime().block_on(async {
            client.version().await.unwrap();
            exhaust_descriptors();
            tokio::time::pause();
            let query = "never".parse().unwrap();
            assert_shortage(&client.get(&query).await.unwrap_err());
        });
    });
    forked.finish();
}
