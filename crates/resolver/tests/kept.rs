//! Kept connections: retries after a daemon has closed one during a request, and use on several runtimes.
#![cfg(feature = "blocking")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::plugins::v1::{DisablePluginRequest, PluginManagementServiceClient};
use keyway_resolver::{DaemonSocket, ResolveError, Resolver, blocking};
use keyway_rpc::Router;
use keyway_test_support::scripted::{ScriptedDaemon, Version};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const EMPTY_OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n";

/// A daemon on a thread of its own, which responds to each request, but closes the connection on which the request with the
/// number `closes_at` arrives, after `rest`, a part of a response.
struct Daemon {
    _folder: TempDir,
    socket: DaemonSocket,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Daemon {
    fn new(closes_at: usize) -> Self {
        Self::closing_after(closes_at, b"")
    }

    fn closing_after(closes_at: usize, rest: &'static [u8]) -> Self {
        let folder = TempDir::with_prefix("kw").unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let counters = Arc::<Counters>::default();
        let counting = Arc::clone(&counters);
        // It ends with the process, and sleeps in `accept` until then.
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let counting = Arc::clone(&counting);
                std::thread::spawn(move || serve(stream, &counting.requests, closes_at, rest));
            }
        });
        Self {
            socket: DaemonSocket::at(path.into()),
            _folder: folder,
            counters,
        }
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (
            count(&self.counters.connections),
            count(&self.counters.requests),
        )
    }

    fn resolver(&self) -> Resolver<DaemonSocket> {
        Resolver::new(self.socket.clone()).with_timeout(Duration::from_secs(20))
    }
}

fn serve(mut stream: UnixStream, requests: &AtomicUsize, closes_at: usize, rest: &[u8]) {
    while read_request(&mut stream) {
        if requests.fetch_add(1, Ordering::SeqCst) + 1 == closes_at {
            stream.write_all(rest).unwrap();
            return;
        }
        stream.write_all(EMPTY_OK).unwrap();
    }
}

/// Reads a request, whose body is empty or arrives with its head.
fn read_request(stream: &mut UnixStream) -> bool {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return false,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
    true
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn an_idempotent_request_is_sent_once_more_if_its_kept_connection_closes() {
    let daemon = Daemon::new(2);
    let resolver = daemon.resolver();
    runtime().block_on(async {
        for _ in 0..3 {
            resolver.version().await.unwrap();
        }
    });
    assert_eq!(daemon.counts(), (2, 4));
}

#[test]
fn the_blocking_client_sends_an_idempotent_request_once_more_as_well() {
    let daemon = Daemon::new(2);
    let resolver = blocking::Resolver::new(daemon.socket.clone()).unwrap();
    for _ in 0..3 {
        resolver.version().unwrap();
    }
    assert_eq!(daemon.counts(), (2, 4));
}

#[test]
fn a_request_is_not_repeated_after_the_first_byte_of_a_response() {
    for rest in [&b"H"[..], b"HTTP/1.1 100 Continue\r\n\r\n", &EMPTY_OK[..20]] {
        let daemon = Daemon::closing_after(2, rest);
        let resolver = daemon.resolver();
        let error = runtime().block_on(async {
            resolver.version().await.unwrap();
            resolver.version().await.unwrap_err()
        });
        assert!(
            matches!(error, ResolveError::Unavailable { .. }),
            "{error:?}"
        );
        assert_eq!(daemon.counts(), (1, 2));
    }
}

#[test]
fn a_request_that_changes_something_is_not_repeated() {
    let daemon = Daemon::new(2);
    let resolver = daemon.resolver();
    let client = PluginManagementServiceClient::from(resolver.rpc());
    runtime().block_on(async {
        let request = || keyway_rpc::Request::new(DisablePluginRequest::default());
        client.disable_plugin(request()).await.unwrap();
        let error = ResolveError::from(client.disable_plugin(request()).await.unwrap_err());
        assert!(
            matches!(error, ResolveError::Unavailable { .. }),
            "{error:?}"
        );
    });
    assert_eq!(daemon.counts(), (1, 2));
}

#[test]
fn an_idempotent_request_on_a_new_connection_is_sent_once() {
    let daemon = Daemon::new(1);
    let resolver = daemon.resolver();
    let error = runtime().block_on(resolver.version()).unwrap_err();
    assert!(
        matches!(error, ResolveError::Unavailable { .. }),
        "{error:?}"
    );
    assert_eq!(daemon.counts(), (1, 1));
}

/// The event queue that a kept connection is registered with belongs to a runtime that has stopped, or that nothing polls.
#[test]
fn a_kept_connection_moves_to_the_runtime_of_the_next_request() {
    let daemon = Daemon::new(usize::MAX);
    let resolver = daemon.resolver();
    let sleeping = runtime();
    sleeping.block_on(resolver.version()).unwrap();
    for _ in 0..2 {
        let stopped = runtime();
        stopped.block_on(resolver.version()).unwrap();
    }
    sleeping.block_on(resolver.version()).unwrap();
    threads().block_on(resolver.version()).unwrap();
    let blocking = blocking::Resolver::new(daemon.socket.clone()).unwrap();
    blocking.version().unwrap();
    assert_eq!(daemon.counts(), (1, 6));
}

#[test]
fn the_first_call_after_a_restart_succeeds() {
    let folder = TempDir::with_prefix("kw").unwrap();
    let path = folder.path().join("s");
    let start = || {
        let version = VersionServiceServer::new(Version("v1.2.3"));
        ScriptedDaemon::serve(&path, Router::new().add_service(version))
    };
    let socket = DaemonSocket::at(path.clone().into());
    let resolver = Resolver::new(socket.clone());
    let blocking = blocking::Resolver::new(socket).unwrap();
    let (current, threads) = (runtime(), threads());
    let faces: [&dyn Fn() -> Result<String, ResolveError>; 3] = [
        &|| current.block_on(resolver.version()),
        &|| threads.block_on(resolver.version()),
        &|| blocking.version(),
    ];
    for version in faces {
        let daemon = start();
        version().unwrap();
        drop(daemon);
        let _daemon = start();
        assert_eq!(version().unwrap(), "v1.2.3");
    }
}

/// Each call may take the connection that the other runtime has just used.
#[test]
fn two_runtimes_share_one_resolver_at_the_same_time() {
    let daemon = Daemon::new(usize::MAX);
    let resolver = daemon.resolver();
    let call = |runtime: Runtime| {
        for _ in 0..100 {
            runtime.block_on(resolver.version()).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| call(runtime()));
        scope.spawn(|| call(threads()));
    });
    let (connections, requests) = daemon.counts();
    assert!(connections <= 2, "{connections}");
    assert_eq!(requests, 200);
}

#[test]
fn a_runtime_that_stops_during_a_call_costs_its_connection_alone() {
    let daemon = Daemon::new(usize::MAX);
    let resolver = daemon.resolver();
    runtime().block_on(resolver.version()).unwrap();
    let stopped = threads();
    let call = resolver.clone();
    // Polled once, the call has the kept connection. It ends with its runtime.
    let (sent, is_sent) = std::sync::mpsc::channel();
    stopped.spawn(async move {
        let mut call = pin!(call.version());
        let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending()));
        sent.send(polled.await).unwrap();
        std::future::pending::<()>().await;
    });
    is_sent.recv().unwrap();
    stopped.shutdown_background();
    runtime().block_on(resolver.version()).unwrap();
    assert!(daemon.counts().0 <= 2);
}
