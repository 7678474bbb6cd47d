//! A waiting task or process uses no processor time. `cargo xtask test --all` runs these tests in a release build as well, with plugins
//! that were built alone: the waker of a root task may differ from its clones there, and a session that wakes replaced
//! wakers spins.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use keyway_idle::busy_descendants;
use keyway_interop::{Daemon, Home, rust_program};
use keyway_mux::{Config, Session, Stream};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixStream;

/// Limit for the polls of a root task while nothing happens: one at the start and one at the end, and a few times in
/// between by the runtime itself. One that wakes itself is polled tens of thousands of times.
const FEW: usize = 20;

/// A session with a peer that sends nothing, and a stream of it.
struct Idle {
    session: Session,
    stream: Stream,
    _peer: (Session, Stream),
}

impl Idle {
    async fn new() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let config = Config::new().keep_alive(None);
        let (session, driver) = Session::client(near, config.clone());
        tokio::spawn(driver);
        let (peer, driver) = Session::server(far, config);
        tokio::spawn(driver);
        let mut stream = session.open().await.expect("opened");
        stream.write_all(b"?").await.expect("written");
        stream.flush().await.expect("flushed");
        let mut accepted = peer.accept().await.expect("accepted").expect("accepted");
        accepted.read_u8().await.expect("read");
        Self {
            session,
            stream,
            _peer: (peer, accepted),
        }
    }
}

/// Counts how often the root task of a runtime is polled in half a second in which it only waits. `wait` polls the event that the
/// task waits for.
fn polls<W>(start: impl FnOnce(Idle) -> W) -> usize
where
    W: FnMut(&mut Context<'_>) -> Poll<()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut wait = start(Idle::new().await);
        let mut end = pin!(tokio::time::sleep(Duration::from_millis(500)));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            assert!(wait(cx).is_pending(), "nothing happens");
            end.as_mut().poll(cx)
        })
        .await;
        polls
    })
}

/// A future that waits on a session.
type Waiting = Pin<Box<dyn Future<Output = ()>>>;

/// The same for a future that is polled until the end, and for one that is made anew for each poll.
fn polls_of_future(make: fn(Session) -> Waiting) -> [usize; 2] {
    let kept = polls(|idle| {
        let mut future = make(idle.session.clone());
        move |cx| {
            let _open = &idle;
            future.as_mut().poll(cx)
        }
    });
    let made_anew = polls(|idle| {
        move |cx| {
            // The future owns all of it, the peer included.
            let idle = &idle;
            make(idle.session.clone()).as_mut().poll(cx)
        }
    });
    [kept, made_anew]
}

#[test]
fn a_waiting_root_task_is_not_polled() {
    thread::scope(|scope| {
        let counts = [
            (
                "accept",
                scope.spawn(|| {
                    polls_of_future(|session| Box::pin(async move { drop(session.accept().await) }))
                }),
            ),
            (
                "closed",
                scope.spawn(|| {
                    polls_of_future(|session| Box::pin(async move { drop(session.closed().await) }))
                }),
            ),
            (
                "peer_draining",
                scope.spawn(|| {
                    polls_of_future(|session| {
                        Box::pin(async move { session.peer_draining().await })
                    })
                }),
            ),
            (
                "a read",
                scope.spawn(|| {
                    let count = polls(|mut idle| {
                        move |cx| {
                            // The whole is kept, because a dropped session ends the stream.
                            let Idle { stream, .. } = &mut idle;
                            let mut buffer = [0; 16];
                            let mut buffer = ReadBuf::new(&mut buffer);
                            Pin::new(stream).poll_read(cx, &mut buffer).map(drop)
                        }
                    });
                    [count, count]
                }),
            ),
        ];
        for (what, counted) in counts {
            let counts = counted.join().expect("the count");
            assert!(
                counts.iter().all(|count| *count <= FEW),
                "{what}: polled {counts:?} times"
            );
        }
    });
}

#[test]
fn an_idle_daemon_and_its_plugins_use_no_processor_time() {
    let home = Home::new();
    for (package, name) in [("keyway-plugin-env", "env"), ("keyway-plugin-file", "file")] {
        home.install(rust_program(package, name), name);
    }
    home.configure(
        "[plugins.env]\nenv = { KEYWAY_ENV_SECRETS = \"idle/x=X\", X = \"not-a-real-token\" }\n",
    );
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("env");
    daemon.wait_for_plugin("file");
    // The daemon and two plugins.
    let busy_at_first = busy_descendants(3);
    let output = daemon.run(&["get", "idle/x"]);
    assert!(output.status.success(), "{output:?}");
    let busy_after_a_request = busy_descendants(3);
    assert!(
        busy_at_first.is_empty() && busy_after_a_request.is_empty(),
        "before a request: {busy_at_first:?}, after it: {busy_after_a_request:?}"
    );
    daemon.stop();
}
