//! Calls to a daemon that hangs. The daemon runs in the runtime of the test, in virtual time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_resolver::{DaemonSocket, ResolveError, Resolver};
use keyway_test_support::Home;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 5\r\n\r\n";

/// `GetVersionResponse { version: "v11" }`.
const BODY: &[u8] = b"\x0a\x03v11";

/// The daemon's part in a call: it writes each part after a delay, and then nothing more. The client both calls and probes with
/// `GetVersion`, so the first connection is the call and all further ones are probes.
#[derive(Clone, Copy)]
struct Script {
    accepts: bool,
    call: &'static [(u64, &'static [u8])],
    /// The delay of the response to each probe in milliseconds, the last one for all further ones; `None` for no response.
    probes: &'static [Option<u64>],
    /// `true` if the daemon stops listening once it has the call.
    stops_listening: bool,
}

const HANGS: Script = Script {
    accepts: true,
    call: &[],
    probes: &[None],
    stops_listening: false,
};

struct Outcome {
    result: Result<String, ResolveError>,
    millis: u128,
    n_probes: usize,
}

impl Outcome {
    #[track_caller]
    fn assert_unresponsive_after(&self, millis: u128) {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(
            matches!(&self.result, Err(ResolveError::Unresponsive { pid }) if *pid == Some(own)),
            "{:?}",
            self.result
        );
        assert_eq!(self.millis, millis);
    }
}

async fn call(script: Script) -> Outcome {
    call_with(script, |resolver| resolver).await
}

async fn call_with(
    script: Script,
    change: impl FnOnce(Resolver<DaemonSocket>) -> Resolver<DaemonSocket>,
) -> Outcome {
    let home = Home::new();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let n_probes = Arc::<AtomicUsize>::default();
    let daemon = tokio::spawn(serve(listener, script, Arc::clone(&n_probes)));
    let resolver = change(Resolver::new(DaemonSocket::at(home.socket().into())));
    let started = Instant::now();
    let result = resolver.version().await;
    let millis = started.elapsed().as_millis();
    daemon.abort();
    Outcome {
        result,
        millis,
        n_probes: n_probes.load(Ordering::SeqCst),
    }
}

async fn serve(listener: UnixListener, script: Script, n_probes: Arc<AtomicUsize>) {
    if !script.accepts {
        return std::future::pending().await;
    }
    let (call, _) = listener.accept().await.unwrap();
    let parts = script.call.iter().copied();
    tokio::spawn(respond(call, parts.collect()));
    if script.stops_listening {
        drop(listener);
        return std::future::pending().await;
    }
    loop {
        let (probe, _) = listener.accept().await.unwrap();
        let index = n_probes.fetch_add(1, Ordering::SeqCst);
        let last = script.probes.last().unwrap();
        let parts = match script.probes.get(index).unwrap_or(last) {
            Some(delay) => vec![(*delay, HEAD), (0, BODY)],
            None => Vec::new(),
        };
        tokio::spawn(respond(probe, parts));
    }
}

/// Writes the parts and keeps the connection open.
async fn respond(mut stream: UnixStream, parts: Vec<(u64, &'static [u8])>) -> io::Result<()> {
    for (delay, part) in parts {
        sleep(Duration::from_millis(delay)).await;
        stream.write_all(part).await?;
    }
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_hangs_is_unresponsive_after_2_s_of_silence_and_3_s_of_the_probe() {
    let stopped_before_accept = Script {
        accepts: false,
        ..HANGS
    };
    call(stopped_before_accept)
        .await
        .assert_unresponsive_after(5_000);
    call(HANGS).await.assert_unresponsive_after(5_000);
    let within_the_head = Script {
        call: &[(1_500, b"HTTP/1.1 200 OK\r\n")],
        ..HANGS
    };
    call(within_the_head).await.assert_unresponsive_after(5_000);
    let after_the_head = Script {
        call: &[(1_500, HEAD)],
        ..HANGS
    };
    call(after_the_head).await.assert_unresponsive_after(6_500);
    let within_the_body = Script {
        call: &[(1_500, HEAD), (1_500, b"\x0a\x03")],
        ..HANGS
    };
    call(within_the_body).await.assert_unresponsive_after(6_500);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_as_long_as_the_daemon_responds_to_probes() {
    let slow = Script {
        call: &[(400_000, HEAD), (40_000, BODY)],
        probes: &[Some(0)],
        ..HANGS
    };
    let outcome = call(slow).await;
    assert_eq!(outcome.result.unwrap(), "v11");
    assert_eq!(outcome.millis, 440_000);
    // At 2 s and then every 5 s, and as much from the head on.
    assert_eq!(outcome.n_probes, 80 + 8);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_continues_within_the_time_of_a_probe_keeps_its_call() {
    let continues = Script {
        call: &[(12_000, HEAD), (0, BODY)],
        probes: &[Some(2_900)],
        ..HANGS
    };
    let outcome = call(continues).await;
    assert_eq!(outcome.result.unwrap(), "v11");
    assert_eq!(outcome.n_probes, 2);
    let stops_later = Script {
        probes: &[Some(0), Some(0), None],
        ..HANGS
    };
    call(stops_later).await.assert_unresponsive_after(15_000);
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_the_probe() {
    let during_the_probe = Script {
        call: &[(4_900, HEAD), (1_900, BODY)],
        ..HANGS
    };
    let outcome = call(during_the_probe).await;
    assert_eq!(
        (outcome.result.unwrap().as_str(), outcome.n_probes),
        ("v11", 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_has_8_s_to_finish_a_call() {
    let finishes = Script {
        call: &[(9_500, HEAD), (0, BODY)],
        stops_listening: true,
        ..HANGS
    };
    assert_eq!(call(finishes).await.result.unwrap(), "v11");
    let hangs = Script {
        stops_listening: true,
        ..HANGS
    };
    call(hangs).await.assert_unresponsive_after(10_000);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_takes_the_place_of_probes() {
    for seconds in [1, 60] {
        let timeout = Duration::from_secs(seconds);
        let outcome = call_with(HANGS, |resolver| resolver.with_timeout(timeout)).await;
        assert!(
            matches!(outcome.result, Err(ResolveError::TimedOut { .. })),
            "{:?}",
            outcome.result
        );
        assert_eq!((outcome.millis, outcome.n_probes), (timeout.as_millis(), 0));
    }
}
