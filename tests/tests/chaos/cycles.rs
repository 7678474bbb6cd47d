//! Connections that come and go by the thousand leave nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyway_local::Address;
use keyway_test_support::{Home, require};
use keyway_tests::Behaviour;
use keyway_tests::plugin::{connect as register, hijack};
use rustix::process::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::census::{Census, resident};
use crate::daemon;
use crate::wire;

/// Number of cycles before the daemon is looked at for the first time.
const N_WARM_UP: usize = 2_000;

/// Number of cycles in all.
const N_CYCLES: usize = 10_000;

/// Number of cycles at once.
const N_WORKERS: usize = 16;

/// The bound of one cycle on a busy machine.
const CYCLE_LIMIT: Duration = Duration::from_secs(60);

/// The time in which the daemon must close connections that its peers have closed.
const CLEANUP_LIMIT: Duration = Duration::from_secs(60);

/// The steps of a connection before it is closed.
#[derive(Clone, Copy, Debug)]
enum Cycle {
    /// Nothing.
    Silent,
    /// It sends a part of a request.
    Half,
    /// It sends a request and reads the response.
    Request,
    /// It is upgraded.
    Upgrade,
    /// It is upgraded and carries a part of a registration.
    Garbage,
    /// It is upgraded, registers a plugin and leaves in order.
    Register,
    /// It is upgraded, registers a plugin and breaks.
    Break,
}

const KINDS: [Cycle; 12] = [
    Cycle::Silent,
    Cycle::Half,
    Cycle::Request,
    Cycle::Upgrade,
    Cycle::Silent,
    Cycle::Garbage,
    Cycle::Request,
    Cycle::Upgrade,
    Cycle::Register,
    Cycle::Half,
    Cycle::Request,
    Cycle::Break,
];

impl Cycle {
    /// One cycle. `name` is that of the plugin.
    async fn run(self, address: &Address, name: &str) {
        match self {
            Self::Silent => drop(connect(address).await),
            Self::Half => {
                let mut stream = connect(address).await;
                stream.write_all(b"POST /resolver").await.expect("written");
            }
            Self::Request => request(address).await,
            Self::Upgrade => drop(hijack(address).await.expect("upgraded")),
            Self::Garbage => {
                let mut stream = hijack(address).await.expect("upgraded");
                stream.write_all(&[0; 7]).await.expect("written");
            }
            Self::Register => {
                let stream = hijack(address).await.expect("upgraded");
                let plugin = register(name, Behaviour::Good, stream).await;
                plugin.expect("registered").leave().await;
                wait_until_forgotten(address, name).await;
            }
            Self::Break => {
                let stream = hijack(address).await.expect("upgraded");
                let stream = stream.into_std().expect("a socket");
                let handle = stream.try_clone().expect("a descriptor");
                let stream = UnixStream::from_std(stream).expect("a socket");
                let plugin = register(name, Behaviour::Good, stream).await;
                let plugin = plugin.expect("registered");
                handle.shutdown(std::net::Shutdown::Both).expect("open");
                drop(handle);
                plugin.ended().await;
                wait_until_forgotten(address, name).await;
            }
        }
    }
}

async fn connect(address: &Address) -> UnixStream {
    wire::connect(address).await.expect("the daemon listens")
}

async fn request(address: &Address) {
    let mut stream = connect(address).await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut response = String::new();
    let read = stream.read_to_string(&mut response).await;
    read.expect("a response");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// Waits until another plugin may take the name.
async fn wait_until_forgotten(address: &Address, name: &str) {
    let body = "{}";
    let request = format!(
        "POST /plugins.v1.PluginManagementService/ListPlugins HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let quoted = format!("{name:?}");
    loop {
        let mut stream = connect(address).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut response = String::new();
        let read = stream.read_to_string(&mut response).await;
        read.expect("a response");
        if !response.contains(&quoted) {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Runs the cycles up to number `end`, several at once.
async fn run(address: &Address, next: &Arc<AtomicUsize>, end: usize) {
    let workers = (0..N_WORKERS).map(|worker| {
        let (address, next) = (address.clone(), Arc::clone(next));
        tokio::spawn(async move {
            let name = format!("guest-{worker}");
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= end {
                    return;
                }
                let cycle = KINDS[number % KINDS.len()];
                let done = timeout(CYCLE_LIMIT, cycle.run(&address, &name)).await;
                done.unwrap_or_else(|_| panic!("{cycle:?} takes longer than {CYCLE_LIMIT:?}"));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("every cycle succeeds");
    }
    next.store(end, Ordering::SeqCst);
}

/// Waits until nothing is open that was not open before.
async fn settle(daemon: Pid, before: &Census) {
    let started = Instant::now();
    loop {
        let after = Census::take(daemon);
        if !before.differs(&after) {
            return;
        }
        assert!(
            started.elapsed() < CLEANUP_LIMIT,
            "left {after:?} instead of {before:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    if !require::has_root() {
        // The descriptors of a process that is not dumpable are closed to its own user.
        return;
    }
    let home = Home::new();
    home.create_dir("plugins");
    // Without `file` the daemon has no plugin of its own, so nothing starts meanwhile.
    let configuration = "[external]\nallow = true\n[plugins.file]\nenabled = false\n";
    home.write("config.toml", configuration);
    let daemon = daemon::start(&home);
    let pid = Pid::from_raw(daemon.id().cast_signed()).expect("a process");
    let address = home.socket().into();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let memory = runtime.block_on(async {
        request(&address).await;
        let before = Census::take(pid);
        let next = Arc::new(AtomicUsize::new(0));
        let mut memory = [0; 2];
        for (end, memory) in [N_WARM_UP, N_CYCLES].into_iter().zip(&mut memory) {
            run(&address, &next, end).await;
            settle(pid, &before).await;
            *memory = resident(pid);
        }
        memory
    });
    let [first, last] = memory;
    assert!(last <= first + first / 10, "{memory:?} KiB");
    let (status, log) = daemon.stop();
    assert!(status.success(), "{status}:\n{log}");
}
