//! The transport to a daemon on real sockets: discovery, the daemon's user, kept connections.

use std::path::Path;
use std::time::Duration;

use keyway_resolver::{Address, DaemonSocket, DialError, ResolveError, Resolver};
use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::wait::asynchronous::eventually;
use keyway_test_support::{Home, require, set_mode};

/// A scripted daemon at the socket of a home.
fn serve(home: &Home) -> ScriptedDaemon {
    ScriptedDaemon::serve(home.socket(), crate::script::router())
}

fn address(daemon: &ScriptedDaemon) -> Address {
    daemon.path().to_owned().into()
}

fn resolver(address: impl Into<Address>) -> Resolver<DaemonSocket> {
    Resolver::new(DaemonSocket::at(address.into()))
}

async fn hit(resolver: &Resolver<DaemonSocket>) {
    let envelope = resolver
        .get_one(&"demo/hit".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(envelope.value.expose(), b"dummy");
}

async fn not_running(resolver: &Resolver<DaemonSocket>) -> keyway_resolver::ConnectError {
    match resolver.version().await {
        Err(ResolveError::NotRunning(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_share_one_kept_connection() {
    let home = Home::new();
    let daemon = serve(&home);
    let resolver = resolver(address(&daemon));
    for _ in 0..10 {
        hit(&resolver).await;
        assert!(matches!(
            resolver.get(&"demo/none".parse().unwrap()).await,
            Err(ResolveError::NotFound { .. })
        ));
    }
    let clone = resolver.clone();
    let large = clone.get_one(&"demo/large".parse().unwrap()).await.unwrap();
    assert_eq!(large.value.len(), 1 << 20);
    assert_eq!(daemon.n_accepted(), 1);
}

#[tokio::test]
async fn concurrent_requests_have_a_connection_each_and_some_are_kept() {
    let home = Home::new();
    let daemon = serve(&home);
    let resolver = Resolver::new(DaemonSocket::at(address(&daemon)).max_idle(2));
    let all = async {
        tokio::join!(
            hit(&resolver),
            hit(&resolver),
            hit(&resolver),
            hit(&resolver)
        );
    };
    all.await;
    let after_first = daemon.n_accepted();
    assert!((1..=4).contains(&after_first));
    tokio::join!(hit(&resolver), hit(&resolver));
    assert!(
        daemon.n_accepted() <= after_first + 1,
        "{} after {after_first}",
        daemon.n_accepted()
    );
}

#[tokio::test]
async fn a_daemon_that_was_restarted_is_found_again() {
    let home = Home::new();
    let path = home.socket();
    let first = serve(&home);
    let resolver = resolver(path.clone());
    hit(&resolver).await;
    drop(first);
    // Until the client has read the end of its kept connection, a request may still be written to it.
    let error = eventually("the daemon to be absent", async || {
        match resolver.version().await {
            Err(ResolveError::NotRunning(error)) => Ok(error),
            other => Err(other),
        }
    })
    .await;
    assert!(error.is_not_running());
    let second = serve(&home);
    hit(&resolver).await;
    assert_eq!(second.n_accepted(), 1);
}

#[tokio::test]
async fn a_cancelled_request_costs_its_connection_alone() {
    let home = Home::new();
    let daemon = serve(&home);
    let resolver = resolver(address(&daemon));
    let never = resolver
        .get(&"demo/never".parse().unwrap())
        .cancel_after(Duration::from_millis(20))
        .await;
    assert!(never.is_none());
    hit(&resolver).await;
    assert_eq!(daemon.n_accepted(), 2);
}

/// Cancels a future after a time.
trait CancelAfter: Future + Sized {
    async fn cancel_after(self, time: Duration) -> Option<Self::Output> {
        tokio::time::timeout(time, self).await.ok()
    }
}

impl<F: Future> CancelAfter for F {}

#[tokio::test]
async fn the_first_address_with_a_daemon_is_taken() {
    let home = Home::new();
    let daemon = serve(&home);
    let missing = Address::from(home.join("missing"));
    let resolver = Resolver::new(DaemonSocket::at_first_of([missing, address(&daemon)]));
    hit(&resolver).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_is_an_address() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("keyway-test/{}/{}", std::process::id(), "abstract");
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let resolver = resolver(format!("@{name}").parse::<Address>().unwrap());
    let accepting = tokio::task::spawn_blocking(move || listener.accept().map(drop));
    // The daemon is reached, and closes without a response, which is not the error of an absent daemon.
    let fault = resolver.version().await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unavailable { .. }),
        "{fault:?}"
    );
    accepting.await.unwrap().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_of_another_user_is_refused() {
    use std::os::linux::net::SocketAddrExt as _;
    if !require::has_root() {
        return;
    }
    let name = format!("keyway-test/{}/foreign", std::process::id());
    let listening = std::thread::spawn({
        let name = name.clone();
        move || {
            // On Linux this changes the one thread that makes the call, and the socket keeps the uid of its listener.
            let other = rustix::thread::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(other, other, other).unwrap();
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            std::os::unix::net::UnixListener::bind_addr(&address).unwrap()
        }
    });
    let _listener = listening.join().unwrap();
    let error = not_running(&resolver(format!("@{name}").parse::<Address>().unwrap())).await;
    assert!(
        matches!(
            error.attempts()[0].error,
            DialError::ForeignDaemon { uid: 65_534 }
        ),
        "{error:?}"
    );
    assert!(!error.is_not_running());
    assert!(
        error
            .to_string()
            .ends_with("(another user's program listens there (uid 65534))"),
        "{error}"
    );

    let address = || format!("@{name}").parse::<Address>().unwrap();
    let of_another = DaemonSocket::at(address()).with_daemon_uid(65_533);
    assert!(
        !not_running(&Resolver::new(of_another))
            .await
            .is_not_running()
    );
    let named = DaemonSocket::at(address()).with_daemon_uid(65_534);
    let named = Resolver::new(named).with_timeout(Duration::from_millis(30));
    let error = named.version().await.unwrap_err();
    // The daemon is reached, and accepts no connection in this test.
    assert!(matches!(error, ResolveError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn only_the_daemon_of_the_named_uid_is_accepted() {
    let home = Home::new();
    let daemon = serve(&home);
    let own = rustix::process::geteuid().as_raw();
    let socket = DaemonSocket::at(address(&daemon));
    hit(&Resolver::new(socket.clone().with_daemon_uid(own))).await;
    let other = Resolver::new(socket.with_daemon_uid(own + 1));
    assert!(matches!(
        not_running(&other).await.attempts()[0].error,
        DialError::ForeignDaemon { uid } if uid == own
    ));
}

#[tokio::test]
async fn a_stale_socket_is_an_absent_daemon() {
    let home = Home::new();
    let path = home.socket();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = not_running(&resolver(path)).await;
    assert!(error.is_not_running());
}

#[tokio::test]
async fn a_socket_without_permission_is_not_an_absent_daemon() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may use every socket");
        return;
    }
    let home = Home::new();
    let daemon = serve(&home);
    set_mode(daemon.path(), 0o000);
    assert!(
        !not_running(&resolver(address(&daemon)))
            .await
            .is_not_running()
    );
}

#[tokio::test]
async fn a_full_accept_queue_is_waited_for_until_the_connect_timeout() {
    let home = Home::new();
    let path = home.socket();
    let listener = full_listener(&path);
    let socket = DaemonSocket::at(path.into()).connect_timeout(Duration::from_millis(30));
    let error = not_running(&Resolver::new(socket)).await;
    assert!(
        matches!(error.attempts()[0].error, DialError::TimedOut { .. }),
        "{error:?}"
    );
    assert!(!error.is_not_running());
    drop(listener);
}

#[tokio::test]
async fn a_connect_timeout_may_be_unbounded() {
    let home = Home::new();
    let path = home.socket();
    let (listener, waiting) = full_listener(&path);
    let socket = DaemonSocket::at(path.into()).connect_timeout(Duration::MAX);
    let resolver = Resolver::new(socket).with_timeout(Duration::from_millis(30));
    let error = resolver.version().await.unwrap_err();
    assert!(matches!(error, ResolveError::TimedOut { .. }), "{error:?}");
    drop((listener, waiting));
}

/// A listener that accepts no connection, with a full accept queue.
fn full_listener(path: &Path) -> (std::os::fd::OwnedFd, Vec<std::os::fd::OwnedFd>) {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };
    let socket = || {
        socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap()
    };
    let address = SocketAddrUnix::new(path).unwrap();
    let listener = socket();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket();
        if connect(&client, &address).is_err() {
            return (listener, waiting);
        }
        waiting.push(client);
    }
}

#[tokio::test]
async fn the_text_of_an_absent_daemon_names_each_address() {
    let home = Home::new();
    let stale = home.join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let missing = home.join("missing.sock");
    let full = home.join("full.sock");
    let _listener = full_listener(&full);
    let socket = DaemonSocket::at_first_of([missing.into(), stale.into(), full.into()])
        .connect_timeout(Duration::from_millis(10));
    let error = Resolver::new(socket)
        .version()
        .await
        .unwrap_err()
        .to_string();
    let error = error.replace(home.path().to_str().unwrap(), "/run/user/1000");
    insta::assert_snapshot!(error, @"no daemon was reached at /run/user/1000/missing.sock (there is no such socket), nor at /run/user/1000/stale.sock (no process listens there), nor at /run/user/1000/full.sock (the connection was not accepted within 10 ms)");
    let none = Resolver::new(DaemonSocket::at_first_of([]));
    insta::assert_snapshot!(none.version().await.unwrap_err(), @"there is no address at which to look for a daemon");
}

#[cfg(feature = "blocking")]
mod blocking {
    use super::*;
    use keyway_resolver::blocking;

    #[test]
    fn the_blocking_client_needs_no_runtime() {
        let home = Home::new();
        let daemon = serve(&home);
        let resolver = blocking::Resolver::new(DaemonSocket::at(address(&daemon))).unwrap();
        for _ in 0..3 {
            let envelope = resolver.get_one(&"demo/hit".parse().unwrap()).unwrap();
            assert_eq!(envelope.value.expose(), b"dummy");
        }
        assert_eq!(resolver.version().unwrap(), "v1.2.3");
        assert_eq!(daemon.n_accepted(), 1);
    }

    #[tokio::test]
    #[should_panic(expected = "attempted to block the current thread")]
    async fn a_blocking_call_in_async_code_panics() {
        let resolver =
            blocking::Resolver::new(DaemonSocket::at("@unused".parse().unwrap())).unwrap();
        let _ = resolver.version();
    }

    #[tokio::test]
    async fn async_code_may_block_on_another_thread_and_drop_the_client() {
        let home = Home::new();
        let daemon = serve(&home);
        let resolver = blocking::Resolver::new(DaemonSocket::at(address(&daemon))).unwrap();
        let calling = tokio::task::spawn_blocking(move || (resolver.version().unwrap(), resolver));
        let (version, resolver) = calling.await.unwrap();
        assert_eq!(version, "v1.2.3");
        drop(resolver);
    }
}
